"""`hfgen code`: the command, its run, and what it writes."""
