"""What a run leaves to be read: `training.json`, the loss plot, the model card."""
