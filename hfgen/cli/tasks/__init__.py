"""Commands of language tasks."""
