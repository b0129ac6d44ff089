"""What the Trainer does, told to a `Listener`; and the ends of a run that are hfgen's to decide.

A callback: it has the last step validated and saved, saves whatever validated best, stops early
when asked, and ends a run whose loss is no number.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from transformers import TrainerCallback

from hfgen.errors import HfgenError
from hfgen.generation.statistics import peak_bytes
from hfgen.mentions import mention, spelled
from hfgen.training.events import Evaluation, Listener, Sample, Step
from hfgen.training.loop.samples import Sampler

_STEPS_AVERAGED = 20


class LossDiverged(HfgenError):
    """The loss became infinite or no number."""


class Reporter(TrainerCallback):  # type: ignore[misc]
    """See the module's docstring; `trainer` is set once there is one."""

    def __init__(
        self,
        listener: Listener,
        sampler: Sampler,
        *,
        has_validation: bool,
        patience: int | None,
        model: Any,
        is_new: bool = False,
        bits_per_nat: float | None = None,
    ) -> None:
        """`model` is the stock model inside whatever is trained; None makes no samples.

        One that `is_new` has nothing to show before its first step.

        `bits_per_nat` is how many bits per byte a validation loss of 1 is.
        """
        self.trainer: Any = None
        self.is_before = True
        """Whether training has not begun."""
        self.samples: tuple[Sample, ...] = ()
        """The newest."""
        self.seconds = 0.0
        """Time of steps, evaluations and saves, those of interrupted processes included."""
        self.to_beat = math.inf
        """Validation loss of the model before its first step, the first candidate for the best."""
        self._listener = listener
        self._sampler = sampler
        self._has_validation = has_validation
        self._patience = patience
        self._model = model
        self._is_new = is_new
        self._bits_per_nat = bits_per_nat
        self._begun = time.monotonic()
        self._speeds: deque[tuple[float, int]] = deque(maxlen=_STEPS_AVERAGED)
        self._tokens_at_begin = 0
        self._evaluation_s = 0.0
        self._started = self._begun
        self._seconds_before = 0.0

    def begin(self) -> Evaluation:
        """Evaluate the model before its first step."""
        metrics: dict[str, float] = {}
        if self._has_validation:
            metrics = self.trainer.evaluate()
            self.take_base(metrics["eval_loss"])
        else:
            self._evaluated(0, metrics, is_best=False)
        self.is_before = False
        return self._evaluation(0, metrics, is_best=False)

    def take_base(self, loss: float | None) -> None:
        """Make the model as it is before the first step a candidate for the best.

        Not where no process has a whole model: there it could not be written in the end.
        """
        if loss is not None and math.isfinite(loss) and not self.trainer.is_sharded:
            self.to_beat = loss

    def _evaluation(self, step: int, metrics: Mapping[str, float], *, is_best: bool) -> Evaluation:
        """What validation found, with the newest samples."""
        loss, per_nat = metrics.get("eval_loss"), self._bits_per_nat
        bits = None if loss is None or per_nat is None else loss * per_nat
        right = metrics.get("eval_accuracy")
        return Evaluation(step, loss, is_best, self.samples, bits, right)

    def sample(self) -> tuple[Sample, ...]:
        """Generate samples from the model as it is now."""
        if self._model is None or (self._is_new and self.is_before):
            return ()
        return self._sampler.sample(self._model)

    def is_over(self, state: Any) -> bool:
        """Whether a run in this state has no step left to make."""
        return _is_at_end(state) or self._has_waited(state)

    def _has_waited(self, state: Any) -> bool:
        """Whether validation got no better for as long as one has patience."""
        losses = _losses(state.log_history)
        if self._patience is None or not losses:
            return False
        return len(losses) - 1 - losses.index(min(losses)) >= self._patience

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Take up the counts where an interrupted run left them; end one that was over."""
        self._started = time.monotonic()
        if state.best_metric is None and self.to_beat < math.inf:
            state.best_metric, state.best_global_step = self.to_beat, 0
        counted = [log for log in state.log_history if "tokens" in log]
        if counted:
            self.trainer.tokens = counted[-1]["tokens"]
            self._seconds_before = counted[-1]["seconds"]
        if self.is_over(state):
            control.should_training_stop = True
            steps = f"step {state.global_step} of {state.max_steps}"
            self._listener.notice(f"training was over at {steps}: only the result is written")
        return control

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop the clock of the run."""
        self.seconds = self._elapsed()

    def _elapsed(self) -> float:
        return self._seconds_before + time.monotonic() - self._started

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock: evaluations and saves lie between steps."""
        self._begun = time.monotonic()
        self._tokens_at_begin = self.trainer.tokens

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Stop the clock; decide what the last step brings."""
        tokens = self.trainer.tokens - self._tokens_at_begin
        self._speeds.append((time.monotonic() - self._begun, tokens))
        is_last = _is_at_end(state)
        if is_last:
            control.should_save = True
            control.should_evaluate = self._has_validation
        if not self._has_validation and (is_last or state.global_step % args.eval_steps == 0):
            self._evaluated(state.global_step, {}, is_best=False)
        return control

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Report a step."""
        if "loss" not in logs or self.is_before:
            return
        if not math.isfinite(logs["loss"]):
            raise LossDiverged(
                f"the loss is {logs['loss']} at step {state.global_step}",
                hint=f"use a lower {mention('learning_rate')}, or {mention('precision', 'fp32')}",
            )
        seconds = sum(s for s, _ in self._speeds)
        tokens = sum(n for _, n in self._speeds)
        left = state.max_steps - state.global_step
        step_s = seconds / max(1, len(self._speeds))
        norm = logs.get("grad_norm")
        speed = tokens / seconds if seconds else 0.0
        state.log_history[-1] |= {
            "tokens": self.trainer.tokens,
            "tokens_per_s": speed,
            "seconds": self._elapsed(),
        }
        self._listener.step(
            Step(
                step=state.global_step,
                steps=state.max_steps,
                epoch=float(state.epoch or 0),
                loss=logs["loss"],
                learning_rate=logs["learning_rate"],
                grad_norm=None if norm is None else float(norm),
                tokens=self.trainer.tokens,
                tokens_per_s=speed,
                remaining_s=left * step_s + math.ceil(left / args.eval_steps) * self._evaluation_s,
                memory_bytes=peak_bytes(args.device),
            )
        )

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any
    ) -> Any:
        """Report validation, save what is best, and stop when nothing gets better."""
        loss = metrics["eval_loss"]
        lowest = min(_losses(state.log_history[:-1]), default=math.inf)
        is_best = not self.is_before and loss < min(self.to_beat, lowest)
        self._evaluated(0 if self.is_before else state.global_step, metrics, is_best=is_best)
        log = {"samples": [asdict(sample) for sample in self.samples]}
        if self._bits_per_nat is not None:
            log["bits_per_byte"] = loss * self._bits_per_nat
        state.log_history[-1] |= log
        if self.is_before:
            return control
        if self._has_waited(state):
            if not _is_at_end(state):
                text = self._explained_end(state)
                self._listener.notice(spelled(text, self._listener.spelling))
            control.should_training_stop = control.should_save = True
        control.should_save = control.should_save or is_best
        return control

    def _explained_end(self, state: Any) -> str:
        """Why the run ends before its last step."""
        return (
            f"stopped at step {state.global_step:,} of {state.max_steps:,}: the last "
            f"{self._patience} evaluations were no better than the best "
            f"({mention('early_stopping', 0)} trains to the end)"
        )

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Report a checkpoint."""
        self._listener.saved(state.global_step)

    def _evaluated(self, step: int, metrics: Mapping[str, float], *, is_best: bool) -> None:
        begun = time.monotonic()
        self.samples = self.sample()
        if self._sampler.failure is not None:
            self._listener.notice(self._sampler.failure)
        self._listener.evaluation(self._evaluation(step, metrics, is_best=is_best))
        self._evaluation_s = self.trainer.evaluation_s + time.monotonic() - begun


def _is_at_end(state: Any) -> bool:
    return bool(state.global_step >= state.max_steps)


def _losses(history: Iterable[Mapping[str, Any]]) -> list[float]:
    """The validation losses so far; one that is no number is worse than any."""
    found = [float(log["eval_loss"]) for log in history if "eval_loss" in log]
    return [math.inf if math.isnan(loss) else loss for loss in found]
