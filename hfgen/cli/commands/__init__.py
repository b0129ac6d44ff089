"""The commands, one module each; `program.commands` lists them and imports them when called."""
