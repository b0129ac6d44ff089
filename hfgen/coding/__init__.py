"""Completing source files: where a completion goes, where it ends, and what becomes of the file.

Built on the one engine; prompts for filling in come from `hfgen.generation.prompts.infill`. Code
is only ever text here: nothing runs it.
"""
