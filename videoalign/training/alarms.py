"""What the numbers of an alignment say is going wrong, and what to change."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from videoalign.training.loop import Row, mean_row

WINDOW_STEPS = 20
"""Steps whose mean an alarm looks at; one step is too noisy."""

DIMENSION = "margin_of_"
"""What the name of a dimension's margin begins with; see `DpoObjective.loss`."""


@dataclass(frozen=True)
class Alarm:
    """A thing that goes wrong."""

    name: str
    """Short, the same at every step."""
    says: str
    """What was seen and what to change, for people."""


def alarms_of(row: Mapping[str, float]) -> list[Alarm]:
    """What is wrong by the means of some steps; names that a method does not log are passed over.

    - margin above 10: it runs away;
    - win_excess above 2 % of error_win: the winners' own error rises;
    - gradient_factor below 0.05: nothing is left to learn from these pairs;
    - the margin of a dimension below 0 while that of all is above 0.1: one dimension pays for the others.
    """
    found = []
    margin, risen = row.get("margin", 0.0), row.get("win_excess", 0.0)
    if margin > 10:
        told = f"the margin runs away ({margin:.3g})"
        found.append(Alarm("margin", f"{told}: lower fit.learning_rate, raise beta, or set margin_cap=5"))
    if risen > 0.02 * row.get("error_win", float("inf")):
        share = 100 * risen / row["error_win"]
        told = f"the winners' error has risen by {share:.1f} %"
        found.append(Alarm("winners", f"{told}: set safeguard=0.6 or sft_weight=0.1, or lower fit.learning_rate"))
    if row.get("gradient_factor", 1.0) < 0.05:
        factor = row["gradient_factor"]
        told = f"the pairs give {factor:.2g} of their gradient"
        found.append(Alarm("gradient", f"{told}: they are learnt, or beta is too large; stop here, or set beta=auto"))
    for name, value in row.items():
        if name.startswith(DIMENSION) and "/" not in name and value < 0 and margin > 0.1:
            dimension = name.removeprefix(DIMENSION)
            told = f"{dimension} falls ({value:.3g}) while the whole rises ({margin:.3g})"
            found.append(Alarm(f"dimension {dimension}", f"{told}: give it more of pairs --weights"))
    return found


class Alarms:
    """A callback that says once what is wrong, and again where it went away and came back."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say, self.rows, self.ringing = say, deque[Row](maxlen=WINDOW_STEPS), set[str]()

    def after_step(self, step: int, row: Mapping[str, float]) -> None:
        """Looks at the mean of the last `WINDOW_STEPS` steps, once there are as many."""
        self.rows.append(dict(row))
        if len(self.rows) < WINDOW_STEPS:
            return
        found = {alarm.name: alarm.says for alarm in alarms_of(mean_row(self.rows))}
        for name in found.keys() - self.ringing:
            self.say(f"step {step}: {found[name]}.")
        self.ringing = set(found)


def out_of_patience(rows: Sequence[Mapping[str, float]], name: str, patience: int) -> bool:
    """Whether the last ``patience`` rows that hold a number hold none below the least of those before."""
    values = [row[name] for row in rows if name in row]
    return len(values) > patience and min(values[-patience:]) >= min(values[:-patience])
