"""From what a caller gives (text, messages) to token ids that fit the context window.

Chat templates and conversations are read here; nothing here generates.
"""
