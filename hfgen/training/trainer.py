"""`TokenTrainer`: the HF Trainer with an exact loss, whole checkpoints and an orderly end.

Contract
    - The loss that is minimised and logged is the sum of the token losses of the optimizer step
      over the number of learned tokens of that step, across accumulation and processes. The stock
      Trainer counts one label too many per row for GPT-2, which names no loss type.
    - Validation loss is the sum over all validation tokens by their number, not a mean of batch
      means.
    - A checkpoint is written under another name and renamed when it is complete: whatever is
      called `checkpoint-N` can be loaded, whenever the process was killed.
    - `request_stop` ends training after the running optimizer step, with a checkpoint. Nothing
      is lost, and a resumed run sees the batches and random numbers of an uninterrupted one.

Sources: Hugging Face Transformers 5.23, `trainer.py`; what is overridden is named where it is.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from hfgen.training.batches import token_loss

_ASIDE = ".saving"


class TokenTrainer(Trainer):  # type: ignore[misc]
    """See the module's docstring."""

    def __init__(self, model: Any, args: TrainingArguments, **settings: Any) -> None:
        # Without it the Trainer counts labels that no position predicts.
        model.loss_type = "ForCausalLM"
        self._folder: Path | None = None
        self._interruption = _Interruption()
        self._limit = args.save_total_limit
        args.save_total_limit = None  # `_rotate` does it, after the rename
        super().__init__(model, args, compute_loss_func=_step_loss, **settings)
        self.add_callback(self._interruption)

    def request_stop(self) -> None:
        """End after the running optimizer step, with a checkpoint (safe in a signal handler)."""
        self._interruption.is_requested = True

    @property
    def was_stopped(self) -> bool:
        """Whether training ended because of `request_stop`."""
        return self._interruption.has_acted

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Validation loss by tokens; overrides the mean of batch means."""
        self.model.eval()
        sums = torch.zeros(2, dtype=torch.double, device=self.args.device)
        for batch in self.get_eval_dataloader(eval_dataset):
            inputs = self._prepare_inputs(batch)
            labels = inputs.pop("labels")
            with torch.no_grad(), self.compute_loss_context_manager():
                loss, tokens = token_loss(self.model(**inputs).logits, labels)
            sums += torch.tensor([float(loss), tokens], dtype=torch.double, device=sums.device)
        total, count = self.accelerator.reduce(sums, reduction="sum").tolist()
        metrics = {
            f"{metric_key_prefix}_loss": total / max(1, count),
            f"{metric_key_prefix}_tokens": int(count),
        }
        self.log(metrics)
        self.control: Any = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def _get_output_dir(self, trial: Any) -> str:
        """Where checkpoints go; aside while one is being written."""
        return str(self._folder or self.args.output_dir)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint aside, then rename it; overrides writing in place."""
        folder = Path(self.args.output_dir)
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        aside = folder / _ASIDE
        if self.args.should_save:
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
        self.accelerator.wait_for_everyone()
        self._folder = aside
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self._folder = None
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            if self.state.best_global_step == self.state.global_step:
                self.state.best_model_checkpoint = str(folder / name)
                self.state.save_to_json(str(aside / name / TRAINER_STATE_NAME))
            _publish(aside / name, folder / name)
            shutil.rmtree(aside, ignore_errors=True)
            if self._limit:
                _rotate(folder, self._limit, best=self.state.best_model_checkpoint)
        self.accelerator.wait_for_everyone()


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint of a run; every one that has the name is complete."""
    found = _checkpoints(folder)
    return found[-1] if found else None


def _checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, the oldest first."""
    steps = {
        path: path.name.removeprefix(f"{PREFIX_CHECKPOINT_DIR}-")
        for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*")
    }
    return sorted((p for p, n in steps.items() if n.isdecimal()), key=lambda p: int(steps[p]))


def _rotate(folder: Path, limit: int, *, best: str | None) -> None:
    """Remove the oldest checkpoints but `limit`, never the best or the last one.

    A checkpoint loses its name before its files: a half-removed one is never taken for whole.
    """
    found = _checkpoints(folder)
    kept = {found[-1]} | ({Path(best)} if best else set())
    for path in found:
        if len(found) - limit <= 0:
            return
        if path not in kept:
            doomed = folder / f"{_ASIDE}-removed"
            shutil.rmtree(doomed, ignore_errors=True)
            path.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)
            limit += 1


def _step_loss(
    outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
) -> torch.Tensor:
    """A micro-batch's share of the loss of its optimizer step."""
    logits = outputs["logits"] if isinstance(outputs, dict) else outputs.logits
    total, count = token_loss(logits, labels)
    return (total / (num_items_in_batch or max(1, count))).float()


def _publish(written: Path, final: Path) -> None:
    """Give a complete folder its name; what had the name before goes only then."""
    for path in written.rglob("*"):
        if path.is_file():
            _sync(path)
    _sync(written)
    if final.exists():
        replaced = written.with_name("replaced")
        final.rename(replaced)
    written.rename(final)
    _sync(final.parent)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class _Interruption(TrainerCallback):  # type: ignore[misc]
    """Ends training at the next step's end, when asked."""

    def __init__(self) -> None:
        self.is_requested = False
        self.has_acted = False

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Ask the Trainer to save and to stop."""
        if self.is_requested:
            self.has_acted = True
            control.should_save = True
            control.should_training_stop = True
        return control
