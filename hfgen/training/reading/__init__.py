"""From files and folders to raw rows and text: formats, encodings, and who is a validation file.

Knows nothing of what a column means.
"""
