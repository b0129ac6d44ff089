"""Measuring how fast models run here, and against what the machine could do."""
