"""What a run does. `finetuning` and `pretraining` hold the two commands, as functions and as runs.

`run` is what both do alike, `prepare_finetune` and `prepare_pretrain` make the data, `make_trainer`
the Trainer; `execute` trains and reports, `publish` writes the result, `outcome` is what comes out.
"""
