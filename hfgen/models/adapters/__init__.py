"""LoRA adapters in folders: loaded onto their base as peft would, and merged into it."""
