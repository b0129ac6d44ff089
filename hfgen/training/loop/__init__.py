"""Steps: the Trainer with an exact loss, its optimizers, evaluations and samples."""
