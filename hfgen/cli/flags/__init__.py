"""Flags: the shared ones, those made from option tables, other spellings, and settings."""
