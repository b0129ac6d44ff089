"""The program around the commands: entry, error boundary, console, signals, completion."""
