"""The two commands as library functions, `finetuning.finetune` and `pretraining.pretrain`.

`run` and `pretrain_run` prepare, `execute` trains and reports, `publish` writes the result;
`outcome` is what callers get.
"""
