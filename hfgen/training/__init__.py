"""Fine-tuning and pre-training, in reading order:

`options` → `reading` (files to rows) → `data` and `corpus` (rows and text to batches) → `model` →
`planning` → `loop` (steps) → `checkpoints` → `report`; `runs` puts them together. Both commands
share everything but where the model and the batches come from. A run begins as a
`TrainingRequest` (`request`), made by the command line or by Python, and tells a `Listener`
(`events`) how it goes; nothing here prints.
"""
