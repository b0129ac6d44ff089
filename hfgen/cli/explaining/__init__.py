"""`hfgen explain`: its commands, and what a terminal, a picture and a page show."""
