"""What `compare` returns: the comparison of one family and method, and what it stands on.

It is made at equal error.  The other way to use a controller, at a fixed tolerance in the place of a law, is measured
by `benchmarks/fixed_tolerance.py` (`docs/tolerance_scale.md`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .headline import Comparison

#: columns of the report as text
TEXT_WIDTH = 180


@dataclass(frozen=True)
class Report:
    """A comparison and what it stands on.

    comparison          rows, headline and runs (`headline.Comparison`)
    asked               how many test instances were drawn
    reference_failures  numbers of the test instances without a trustworthy reference: they were drawn and are counted
                        here, and they stand in no row
    validation          by law, its work at equal error against the denominator, on the validation split
    tuned               the facts of the tuned law's search; None where no law is tuned
    """

    comparison: Comparison
    asked: int
    reference_failures: tuple[int, ...]
    validation: dict[str, float]
    tuned: dict[str, Any] | None

    @property
    def rows(self) -> tuple[Any, ...]:
        """One `metric.Row` a controller."""
        return self.comparison.rows

    @property
    def headline(self) -> dict[str, Any]:
        """{"against", "controller", "nfev", "work", "wall", "verdict", "notes"}."""
        return self.comparison.headline()

    def to_json(self) -> dict[str, Any]:
        """The object that `stepsmith compare --json` prints."""
        out = self.comparison.to_json()
        tail = {k: out.pop(k) for k in ("rows", "headline")}
        out["drawn"] = self.asked
        out["reference_failures"] = list(self.reference_failures)
        out["validation"] = {k: v if math.isfinite(v) else None for k, v in self.validation.items()}
        told = ("base", "chosen", "budget", "seed", "commit")
        out["tuned"] = None if self.tuned is None else {k: self.tuned[k] for k in told}
        return out | tail

    def table(self, wide: bool = True) -> Any:
        """The tables as one rich renderable; wide: all columns, which take more than 100 of a terminal's."""
        from .report import render

        return render(self.comparison, wide)

    def plot(self, path: str | Path, measure: str = "work") -> Path:
        """Draw the work-precision picture into `path` (.png, .svg, .pdf)."""
        from .picture import picture

        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return picture(self.comparison, path, measure)

    def __str__(self) -> str:
        from .report import as_text

        return as_text(self.table(), TEXT_WIDTH)
