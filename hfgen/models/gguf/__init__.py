"""GGUF files: their header, and their conversion to an ordinary checkpoint, kept in a cache."""
