"""From the name that a user types to a folder: catalogue, aliases, Hub ids, paths."""
