"""From logits to a token: processors, warpers, top-p, and noise that depends on the seed alone."""
