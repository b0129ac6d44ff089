"""Language tasks that a model does by likelihood or by constrained generation.

`classification` labels texts by the likelihood of label continuations, `extraction` asks for
structured answers about them. Commands and the Python API stand on this package; it runs models
only through `hfgen.scoring` and the engine.
"""
