"""The `hfgen` program: one thin module a command, over the library's public functions.

Nothing outside this package prints, exits or reads the command line.
"""
