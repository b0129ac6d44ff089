"""Naming, finding and loading models. Nothing here imports torch before `load` is called."""
