"""Checkpoints in folders: what files they hold, loading and saving them, devices and dtypes."""
