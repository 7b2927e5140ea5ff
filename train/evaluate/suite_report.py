"""What a comparison on a suite says: `suite_compare` measures it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..run import provenance
from .metric import MEASURES, Figure, WorkRatio


@dataclass(frozen=True)
class FamilyRow:
    """One family: `work` maps a measure to the `WorkRatio` of the learned controller (its median seed), `best` names
    the law that is cheapest on these test instances, `against_best` the ratio to it; `hindsight`: work of the cheapest
    law at every instance and level, over the denominator's; `failures`, `rejected`: the denominator's and the learned
    one's.
    """

    family: str
    unseen: bool
    instances: int
    work: dict[str, WorkRatio | None]
    best: str
    against_best: Figure
    hindsight: float
    costs: dict[str, float] | None
    failures: tuple[int, int]
    rejected: tuple[float, float]


@dataclass(frozen=True)
class SuiteReport:
    """`figures`: measure -> the suite's figure; `seeds`: of the weighted work over training seeds; `rows`: a family
    each; `laws`: every law's geometric mean over the families against the denominator (test instances); `validation`:
    the same on the validation split.
    """

    suite: str
    method: str
    seed: int
    against: str
    controller: str | None
    figures: dict[str, Figure]
    seeds: dict[str, float] | None
    rows: tuple[FamilyRow, ...]
    laws: dict[str, float]
    validation: dict[str, float]
    notes: tuple[str, ...]

    @property
    def hindsight(self) -> float:
        """Geometric mean of the rows' over the families of the suite; NaN without rows."""
        logs = [np.log(r.hindsight) for r in self.rows if not r.unseen]
        return float(np.exp(np.mean(logs))) if logs else float("nan")

    @property
    def headline(self) -> dict[str, Any]:
        """{"against", "controller", "nfev", "work", "wall", "verdict", "notes"}."""
        undefined = Figure(np.nan, np.nan, np.nan)
        head = {m: self.figures.get(m, undefined).to_json() for m in MEASURES}
        verdict = self.figures.get("work", undefined).verdict
        return {
            "against": self.against,
            "controller": self.controller,
            **head,
            "verdict": verdict,
            "notes": list(self.notes),
        }

    def to_json(self) -> dict[str, Any]:
        """The object that `stepsmith compare SUITE --json` prints."""
        rows = [
            {
                "family": r.family, "unseen": r.unseen, "instances": r.instances, "costs": r.costs, "best_law": r.best,
                "against_best_law": r.against_best.to_json(), "hindsight": r.hindsight,
                "failures": list(r.failures), "rejected": list(r.rejected),
                **{m: None if (w := r.work.get(m)) is None else w.to_json() for m in MEASURES},
            }
            for r in self.rows
        ]  # fmt: skip
        return {
            "suite": self.suite, "method": self.method, "seed": self.seed, "versions": provenance.versions(),
            "commit": provenance.commit(),
            "rows": rows, "seeds": self.seeds, "laws": self.laws, "validation": self.validation,
            "headline": self.headline,
            "hindsight": None if np.isnan(self.hindsight) else self.hindsight,
        }  # fmt: skip

    def table(self) -> Any:
        """The rows as one rich renderable."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        from .report import interval_text

        table = Table(
            title=f"{self.suite}, {self.method}: work at equal error, ratio to {self.against}", title_justify="left"
        )
        columns = (
            "family",
            "instances",
            "f-evaluations",
            "weighted work",
            "wall clock",
            "worst",
            "rejected",
            "best law here",
            "to it",
        )
        for name in (*columns, "hindsight"):
            table.add_column(
                name, justify="left" if name in ("family", "best law here") else "right", no_wrap=name == "family"
            )
        for r in self.rows:
            cells = ["-" if (w := r.work.get(m)) is None else interval_text(w.figure) for m in MEASURES]
            main = r.work.get("work")
            worst = "-" if main is None else f"{main.worst:.2f}"
            share = f"{100 * r.rejected[1]:.0f} % ({100 * r.rejected[0]:.0f} %)"
            name = r.family + (" (unseen)" if r.unseen else "")
            table.add_row(
                name,
                str(r.instances),
                *cells,
                worst,
                share,
                r.best,
                interval_text(r.against_best),
                f"{r.hindsight:.2f}",
            )
        if self.controller is None:
            table = Table(
                title=f"{self.suite}, {self.method}: weighted work of laws over {self.against}'s", title_justify="left"
            )
            for name in ("law", "test", "validation"):
                table.add_column(name, justify="left" if name == "law" else "right")
            for name, ratio in self.laws.items():
                table.add_row(name, f"{ratio:.3f}", f"{self.validation[name]:.3f}")
        if self.controller is not None:
            note = f"hindsight of the laws, at every instance and error level the cheapest: {self.hindsight:.3f} of the denominator"
            notes = (*self.notes, note)
        else:
            notes = self.notes
        said = [
            Text(f"{name} of {self.suite}: {interval_text(f)} ({f.verdict})", style="bold")
            for name, f in self.figures.items()
        ]
        return Group(*said, table, *(Text(f"  {note}", style="dim") for note in notes))

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(width=170, color_system=None)
        with console.capture() as text:
            console.print(self.table())
        return text.get()

    def plot(self, path: str | Path) -> Path:
        """Draw every family's ratio with its interval into `path`."""
        from .suite_picture import picture

        return picture(self, path)
