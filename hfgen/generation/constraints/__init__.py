"""Text that keeps to a JSON schema, a regular expression, a list of choices or a grammar.

`schemas` reads schemas, `grammars` compiles and checks any of the four before a model is thought
of, `closing` finds short ways to finish a text that was begun, `tokens` and `constraint` hold a
row to its grammar token by token, `masking` applies that to scores. llguidance (MIT) does the
parsing. Only `masking` imports torch.

The promise: every text that ends without an error is a whole text of its grammar, whatever the
model, the sampling and the length limit. Hence a row always keeps a *closing*, tokens that finish
its text within the limit; a token after which none is left is replaced by the closing's next one.
"""
