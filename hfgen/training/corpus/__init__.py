"""The text that `pretrain` learns: documents, the new tokenizer, and the token store on disk."""
