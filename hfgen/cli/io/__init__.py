"""What the program reads and shows: prompts in; text, records, tables and displays out."""
