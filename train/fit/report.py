"""What a fit found: a sentence, a table, a picture, a card, and two files that the next solve takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...controllers.file import save
from ...controllers.laws import tuned
from ...controllers.laws.law import Law
from ...controllers.learned import Learned
from ...controllers.switching.switching import Switching
from ...integrators.problems.families import Family
from ..evaluate.splits import Split
from ..run.provenance import provenance
from .candidates import Candidate, Point
from .clock import Ratio

RECOMMENDED = "recommended.toml"


@dataclass(frozen=True)
class Row:
    """One candidate on test instances: tolerances, the error that nine of ten instances have at most, f-evaluations
    (mean) and seconds (geometric mean) a solve, and both over those of the recommended one.
    """

    method: str
    controller: str
    kind: str
    rtol: float
    atol: float
    error: float
    nfev: float
    seconds: float
    nfev_ratio: Ratio
    wall_ratio: Ratio

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        plain = {k: v for k, v in vars(self).items() if not isinstance(v, Ratio)}
        plain = {k: v if not isinstance(v, float) or np.isfinite(v) else None for k, v in plain.items()}
        return {**plain, "nfev_ratio": self.nfev_ratio.to_json(), "wall_ratio": self.wall_ratio.to_json()}


@dataclass(frozen=True)
class Fit:
    """The answer of `fit`.

    family, error      what was asked
    chosen, point      the recommended candidate, and where it has the wanted error
    rows               it and those that came next, on test instances
    against            the default of `ss.solve`, and the baseline
    skipped            what the time did not suffice for
    said, steps        lines of the search, and comparisons behind the choice
    test, folder       the test instances, and where the files are
    """

    family: Family
    error: float
    chosen: Candidate
    point: Point
    rows: list[Row]
    against: Mapping[str, Mapping[str, Any]]
    skipped: tuple[str, ...]
    said: tuple[str, ...]
    steps: tuple[Mapping[str, Any], ...]
    test: Split
    folder: Path

    @property
    def recommended(self) -> dict[str, Any]:
        """Arguments of `ss.solve`: method, controller (an object), rtol, atol."""
        row = self.rows[0]
        return {"method": row.method, "controller": self.chosen.controller, "rtol": row.rtol, "atol": row.atol}

    @property
    def sentence(self) -> str:
        """The answer in plain words."""
        row = self.rows[0]
        text = (
            f"{self.family.name}: {row.method} under {row.controller} at rtol {row.rtol:.1e} has an error of at most "
            f"{row.error:.1e} on nine of "
            f"ten test instances ({self.error:.1e} wanted), in {1e6 * row.seconds:.4g} us a solve."
        )
        if row.error > 1.5 * self.error:
            text += " That is above what is wanted: fit again with a smaller wanted error."
        default = self.against["default"]
        if not default["reached"]:
            text += f" The default ({default['method']} under {default['controller']}) does not reach this error."
        else:
            wall = default["wall"]
            interval = f"[{wall['low']:.2f}, {wall['high']:.2f}]"
            text += f" That is {wall['ratio']:.2f} {interval} of the default's time at equal error."
            if wall["high"] >= 1.0:
                text += " Nothing that was tried is faster beyond doubt: the default is as good."
        for name, found in self.against.items():
            if name.startswith("scipy") and found["reached"]:
                wall = found["wall"]
                interval = f"[{wall['low']:.3f}, {wall['high']:.3f}]"
                text += f" {name} at rtol {found['rtol']:.1e}: {wall['ratio']:.3f} {interval} of its time at its error."
            elif name.startswith("scipy"):
                at = "" if found["rtol"] is None else f" at rtol {found['rtol']:.1e}"
                text += f" {name}{at} has no error that could be compared."
        if self.skipped:
            text += f" Not tried, for want of time: {', '.join(dict.fromkeys(self.skipped))}."
        return text

    def to_json(self) -> dict[str, Any]:
        """One JSON object: recommended, rows, against, and what was asked."""
        row = self.rows[0]
        recommended = {
            "method": row.method,
            "controller": row.controller,
            "kind": row.kind,
            "rtol": row.rtol,
            "atol": row.atol,
        }
        return {
            "family": self.family.name, "wanted_error": self.error, "recommended": recommended,
            "rows": [r.to_json() for r in self.rows],
            "against": {k: dict(v) for k, v in self.against.items()}, "steps": [dict(s) for s in self.steps],
            "skipped": list(dict.fromkeys(self.skipped)), "instances": len(self.test.ids),
            "reference_failures": len(self.test.failed),
            "sentence": self.sentence, "said": list(self.said), **provenance(),
        }  # fmt: skip

    def table(self) -> list[tuple[str, ...]]:
        """Rows of the table of the terminal, the head first."""
        head = (
            "method",
            "controller",
            "rtol",
            "error (9 of 10)",
            "f-evaluations",
            "us a solve",
            "time, over the first",
        )
        return [head, *(
            (r.method, r.controller, f"{r.rtol:.1e}", f"{r.error:.1e}", f"{r.nfev:.0f}", f"{1e6 * r.seconds:.4g}",
             f"{r.wall_ratio.ratio:.2f} [{r.wall_ratio.low:.2f}, {r.wall_ratio.high:.2f}]")
            for r in self.rows
        )]  # fmt: skip

    def write(self, folder: str | Path) -> Path:
        """controller file, recommended.toml, fit.json, fit.png and card.md in `folder`; the folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        name = self._controller(folder)
        row = self.rows[0]
        (folder / RECOMMENDED).write_text(
            f'# stepsmith.solve(problem, **stepsmith.settings("{RECOMMENDED}"))\n# {self.sentence}\n'
            f'method = "{row.method}"\ncontroller = "{name}"\nrtol = {row.rtol!r}\natol = {row.atol!r}\n'
        )
        (folder / "fit.json").write_text(json.dumps(self.to_json(), indent=2, allow_nan=False) + "\n")
        (folder / "card.md").write_text(self.card())
        from .picture import picture

        picture(self, folder / "fit.png")
        return folder

    def _controller(self, folder: Path) -> str:
        controller = self.chosen.controller
        if isinstance(controller, Learned):
            return save(controller, folder / "controller.safetensors").name
        if isinstance(controller, Switching):
            return controller.rule.name  # over the law that each method has by itself
        assert isinstance(controller, Law)
        facts = {
            "family": self.family.name, "method": self.chosen.method, "base": self.chosen.name,
            "doc": f"{self.chosen.name}, by fit",
            **provenance(),
        }  # fmt: skip
        tuned.write(folder / "controller.json", controller, facts)
        return "controller.json"

    def card(self) -> str:
        """The model card: what was asked, what was found, how."""
        head, *rows = self.table()
        lines = [
            f"# Solver for {self.family.name}",
            "",
            self.sentence,
            "",
            "| " + " | ".join(head) + " |",
            "|" + "---|" * len(head),
        ]
        lines += ["| " + " | ".join(row) + " |" for row in rows]
        lines += ["", f"{len(self.test.ids)} test instances, on which nothing was chosen. How it was found:", ""]
        lines += [f"    {line}" for line in (*self.family.said, *self.said)]
        return "\n".join(lines) + "\n"
