"""Language tasks that a model does by likelihood or by constrained generation.

`classification` labels texts by the likelihood of label continuations. Commands and the Python API
stand on this package; it runs models only through `hfgen.scoring` and the engine.
"""
