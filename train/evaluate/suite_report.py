"""What a comparison on a suite says; `suite_compare` measures it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..run import provenance
from .metric import CLOCKS, MEASURES, Figure, WorkRatio

#: columns of the report as text
TEXT_WIDTH = 170
COLUMNS = (
    "family", "instances", "f-evaluations", "weighted work", "clock, lanes", "clock, single", "worst", "rejected",
    "best law here", "to it", "hindsight",
)  # fmt: skip
#: of them, those that a table of 100 columns leaves out
MORE = ("f-evaluations", "clock, single", "worst", "best law here", "to it", "hindsight")


@dataclass(frozen=True)
class FamilyRow:
    """One family of the suite.

    unseen          whether nothing was trained or tuned on it
    instances       how many test instances were measured
    work            by measure, the `WorkRatio` of the learned controller's median seed
    best            name of the law that is cheapest on these test instances
    against_best    the learned controller's weighted work over that law's
    hindsight       work of the cheapest law at every instance and error level, over the denominator's
    costs           measured costs of linear algebra, None where there is none
    failures        failed runs of the denominator and of the learned controller
    rejected        share of rejected attempts of the denominator and of the learned controller
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
    """A comparison on a suite.

    against       name of the denominator
    controller    name of the learned controller, None where there is none
    figures       by measure, the suite's figure
    seeds         median and range over training seeds of the weighted work, None without a learned controller
    rows          one a family; none without a learned controller
    laws          by law, the geometric mean over the families of its work over the denominator's, on the test split
    validation    the same on the validation split
    notes         sentences that belong beside the figures
    clocks        by clock that was read ("wall", "single"), the law that its figures are against
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
    clocks: dict[str, str] = field(default_factory=dict)

    @property
    def hindsight(self) -> float:
        """Geometric mean of the rows' over the families of the suite; NaN without rows."""
        logs = [np.log(r.hindsight) for r in self.rows if not r.unseen]
        return float(np.exp(np.mean(logs))) if logs else float("nan")

    @property
    def headline(self) -> dict[str, Any]:
        """{"against", "against_wall", "against_single", "controller", "nfev", "work", "wall", "single", "verdict",
        "notes"}.
        """
        undefined = Figure(np.nan, np.nan, np.nan)
        head = {m: self.figures.get(m, undefined).to_json() for m in MEASURES}
        verdict = self.figures.get("work", undefined).verdict
        return {
            "against": self.against,
            **{f"against_{m}": self.clocks.get(m) for m in CLOCKS},
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

    def table(self, wide: bool = True) -> Any:
        """The figures, the rows and the notes as one rich renderable; wide: all columns."""
        from rich.console import Group
        from rich.text import Text

        from .report import interval_text

        notes = self.notes
        if self.controller is not None:
            said = "hindsight of the laws, at every instance and error level the cheapest"
            notes = (*notes, f"{said}: {self.hindsight:.3f} of the denominator")
        heads = [
            Text(f"{name} of {self.suite}: {interval_text(f)} ({f.verdict})", style="bold")
            for name, f in self.figures.items()
        ]
        rows = self._laws_table() if self.controller is None else self._families_table(wide)
        return Group(*heads, rows, *(Text(f"  {note}", style="dim") for note in notes))

    def _families_table(self, wide: bool) -> Any:
        """One line a family: the learned controller against the suite's denominator."""
        from rich.box import SIMPLE
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        from .report import interval_text

        shown = [i for i, name in enumerate(COLUMNS) if wide or name not in MORE]
        table = Table(box=SIMPLE, pad_edge=False)
        for name in (COLUMNS[i] for i in shown):
            left = name in ("family", "best law here")
            table.add_column(name, justify="left" if left else "right", no_wrap=name == "family")
        for r in self.rows:
            main = r.work.get("work")
            cells = (
                r.family + (" (unseen)" if r.unseen else ""),
                str(r.instances),
                *("-" if (w := r.work.get(m)) is None else interval_text(w.figure) for m in MEASURES),
                "-" if main is None else f"{main.worst:.2f}",
                f"{100 * r.rejected[1]:.0f} % ({100 * r.rejected[0]:.0f} %)",
                r.best,
                interval_text(r.against_best),
                f"{r.hindsight:.2f}",
            )
            table.add_row(*(cells[i] for i in shown))
        title = f"{self.suite}, {self.method}: work at equal error, ratio to {self.against}"
        below = "" if wide else f"left out, --wide shows them: {', '.join(MORE)}"
        return Group(Text(title, "italic"), table, *([Text(below, "dim italic")] if below else []))

    def _laws_table(self) -> Any:
        """One line a law: its work over the denominator's, on both splits."""
        from rich.box import SIMPLE
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=SIMPLE, pad_edge=False)
        for name in ("law", "test", "validation"):
            table.add_column(name, justify="left" if name == "law" else "right")
        for name, ratio in self.laws.items():
            table.add_row(name, f"{ratio:.3f}", f"{self.validation[name]:.3f}")
        title = f"{self.suite}, {self.method}: weighted work of laws over {self.against}'s"
        return Group(Text(title, "italic"), table)

    def __str__(self) -> str:
        from .report import as_text

        return as_text(self.table(), TEXT_WIDTH)

    def plot(self, path: str | Path) -> Path:
        """Draw every family's ratio with its interval into `path`."""
        from .suite_picture import picture

        return picture(self, path)
