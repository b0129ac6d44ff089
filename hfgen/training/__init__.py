"""Training data: from files to rows, examples, token ids and batches.

`sources` reads files to raw rows, `recognition` finds out what they hold, `encoding` makes token
ids of them (`template` for models that have no chat template), `windows` fits them to the model,
`dataset` runs these in order, `splitting` holds rows out, `batches` makes tensors, `summary` the
figures of a dry run.
"""
