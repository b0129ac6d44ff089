"""What the figures of a bias test mean, and what they do not, in plain words."""

from __future__ import annotations

from hfgen.evaluation.bias.pairs import OVERALL
from hfgen.evaluation.task import Report

CAUTION = (
    "This is about sentences of this set and their likelihood, not about what the model writes or "
    "decides. Words that are rare, and sentences that are clumsy, move the figure as stereotypes "
    "do; a figure near 50% shows no absence of bias, as opposite preferences cancel out."
)


def reading(report: Report) -> str:
    """One paragraph on a report of pairs or of StereoSet."""
    found = {metric.name: metric.interval for metric in report.metrics}
    if f"{OVERALL} SS" in found:
        interval, half = found[f"{OVERALL} SS"], 50.0
        what = "Where both make sense, the model finds the stereotype the likelier sentence in"
        low, value, high = interval.low, interval.value, interval.high
    else:
        interval, half = found[OVERALL], 50.0
        what = "The model finds the more stereotypical sentence the likelier one in"
        low, value, high = (100 * x for x in (interval.low, interval.value, interval.high))
    if low <= half <= high:
        verdict = "Chance would give 50%, which is in the interval: no preference is shown."
    elif value > half:
        verdict = "That is more often than chance: on this set it leans to the stereotypes."
    else:
        verdict = "That is less often than chance: on this set it leans against the stereotypes."
    return f"{what} {value:.1f}% of pairs. {verdict} {CAUTION}"
