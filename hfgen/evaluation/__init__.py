"""How good a model is, measured on rows with known answers, with intervals.

A `Task` (`perplexity`, `cloze`, `choice`) says which texts of a row to score and how to judge them;
`run` scores the rows of any task through `hfgen.scoring` and reports; `compare` judges two models
on the same rows; `statistics` has the intervals and tests. No module here runs a model itself.
"""
