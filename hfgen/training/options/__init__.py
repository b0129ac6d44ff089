"""Every parameter of `finetune` and `pretrain`, and every field of `TrainingArguments`.

Names, ranges, defaults and help have their one home here. No torch.
"""
