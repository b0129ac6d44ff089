"""Conversations with a model: their turns and branches, the chat itself, saving, slash commands.

It knows nothing of terminals. A `Chat` is made by `LanguageModel.chat`, and drives a scheduler as
every command that generates does.
"""
