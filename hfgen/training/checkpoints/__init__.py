"""Checkpoints of a run, its folder, and how a stopped run is found again."""
