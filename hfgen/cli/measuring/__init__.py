"""Commands that measure a model, and how they show what they found."""
