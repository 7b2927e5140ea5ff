"""The solves that find what a family's comparison fixes in advance."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...controllers.resolve import controller
from ...integrators import methods
from ...integrators.core.errors import OptionError
from ...integrators.engine.ensemble import solve_ensemble
from ...integrators.engine.measure import errors
from ...integrators.problems.families import Family, tolerance_grid
from ...integrators.problems.problem import Batch

PROBES = 16  # instances that are looked at
ATTEMPTS = 50_000  # that a solve may make
EXPLICIT, IMPLICIT = "dopri5", "rodas5p"
LAWS = {EXPLICIT: "pi34", IMPLICIT: "pi34"}
VERSION = 1  # of what is kept on disk


@dataclass(frozen=True)
class Protocol:
    """What the solves found, or what was given: the fields of `Family` that make its errors comparable, and lines on
    how.
    """

    error: str
    stiff: bool
    method: str
    atol_factor: float
    floor: float
    levels: tuple[float, float]
    tolerances: tuple[float, ...]
    said: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As a mapping of JSON's types."""
        return {"schema": VERSION, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, data: Any) -> Protocol:
        """From `to_json`'s mapping; OptionError for another one."""
        names = {f.name for f in dataclasses.fields(cls)}
        if not isinstance(data, Mapping) or data.get("schema") != VERSION or set(data) != names | {"schema"}:
            raise OptionError(f"this is no protocol of a family, schema {VERSION}")
        lists = {k: tuple(data[k]) for k in ("levels", "tolerances", "said")}
        return cls(**{**{k: data[k] for k in names}, **lists})


class Probe:
    """The solves that find a family's protocol, in the order in which each needs the ones before it."""

    def __init__(self, draft: Family, batch: Batch, given: Mapping[str, Any]) -> None:
        self.draft, self.batch, self.given = draft, batch, given
        self.said: list[str] = []

    def protocol(self) -> Protocol:
        """Everything, measured or given."""
        atol_factor, first = self.sizes()
        stiff = self.stiffness(atol_factor)
        method = self.given["method"] or (IMPLICIT if stiff else EXPLICIT)
        floor = self.floor(first)
        wanted = self.draft.wanted_error
        levels = self.given["levels"] or (wanted / 10.0, wanted * 10.0)
        fam = dataclasses.replace(
            self.draft,
            stiff=stiff,
            method=methods.registered(method),
            atol_factor=atol_factor,
            floor=floor,
            levels=tuple(levels),
        )
        ref, rows = self.reference(fam)
        tolerances = self.given["tolerances"] or self.grid(fam, ref, rows)
        how = {"grid": f"largest relative error at {fam.n_out} output times", "final": "relative error at the end",
               "energy": "relative error of the energy"}[fam.error]  # fmt: skip
        over = "all components" if fam.components is None else f"components {', '.join(map(str, fam.components))}"
        self.said.append(f"error: {how}, over {over}; levels {levels[0]:.0e} to {levels[1]:.0e}, {wanted:.0e} wanted")
        return Protocol(
            fam.error,
            stiff,
            fam.method,
            atol_factor,
            floor,
            (float(levels[0]), float(levels[1])),
            tuple(map(float, tolerances)),
            tuple(self.said),
        )

    def sizes(self) -> tuple[float, np.ndarray]:
        """The absolute tolerance over the relative one, and states (B, times, n) of a first rough solve."""
        top = float(np.max(np.abs(self.batch.y0))) or 1.0
        tried = []
        for method in (EXPLICIT, IMPLICIT):
            if self.given["stiff"] is (method == EXPLICIT):
                continue
            sol = self.solve(method, 1e-4, 1e-10 * top)
            tried.append(f"{method}: {int(sol.success.sum())} of {len(self.batch)}")
            if sol.success.mean() >= 0.75:
                break
        else:
            worst = next(i for i in range(len(self.batch)) if not sol.success[i])
            raise OptionError(
                f"family {self.draft.name}: the instances cannot be solved at rtol 1e-4 ({'; '.join(tried)} succeed; "
                "instance "
                f"{worst}: {sol.message(worst)}): look at them with ss.solve(family.instance(...)), or vary less"
            )
        y = sol.y_eval[sol.success]
        size = np.maximum(np.abs(y).max(axis=(0, 1)), np.abs(self.batch.y0).max(axis=0))
        seen = size[size > 1e-12 * size.max()] if size.max() > 0.0 else np.ones(1)
        factor = float(10.0 ** np.floor(np.log10(1e-3 * float(seen.min()))))
        if self.given["atol_factor"] is not None:
            factor = float(self.given["atol_factor"])
        self.said.append(
            f"components are of size {seen.min():.1e} to {seen.max():.1e}: absolute tolerance {factor:.0e} times the "
            "relative one"
        )
        if seen.max() > 1e3 * seen.min() and self.draft.components is None and self.draft.error != "energy":
            self.said.append("the error is that of the largest components: components=(...) picks others")
        return factor, y

    def stiffness(self, atol_factor: float) -> bool:
        """Whether an implicit method is the cheaper one at about the wanted error, by the clock."""
        if self.given["stiff"] is not None:
            self.said.append("stiff: as given" if self.given["stiff"] else "not stiff: as given")
            return bool(self.given["stiff"])
        if self.given["method"] is not None and not methods.get(methods.registered(self.given["method"])).implicit:
            self.said.append(f"not stiff: the method {self.given['method']} is explicit")
            return False
        rtol = min(max(self.draft.wanted_error / 10.0, 1e-9), 1e-3)
        seconds, done = {}, {}
        for method in (EXPLICIT, IMPLICIT):
            runs = [self.solve(method, rtol, rtol * atol_factor) for _ in range(2)]
            seconds[method], done[method] = min(sol.stats.wall_s for sol in runs), int(runs[0].success.sum())
        stiff = done[EXPLICIT] < done[IMPLICIT] or (
            done[EXPLICIT] == done[IMPLICIT] and seconds[IMPLICIT] < 0.5 * seconds[EXPLICIT]
        )
        times = "; ".join(f"{m} {1e3 * seconds[m]:.3g} ms, {done[m]} of {len(self.batch)} solved" for m in seconds)
        self.said.append(f"{'stiff' if stiff else 'not stiff'}: at rtol {rtol:.0e} {times}")
        return stiff

    def floor(self, y: np.ndarray) -> float:
        """Least size that a state counts as in a relative error: where states die away to a thousandth of their largest
        or less.
        """
        if self.given["floor"] is not None:
            return float(self.given["floor"])
        pick = slice(None) if self.draft.components is None else list(self.draft.components)
        size = np.linalg.norm(y[..., pick], axis=-1)
        low, high = size.min(axis=1), size.max(axis=1)
        if self.draft.error == "energy" or not (low < 1e-3 * high).any():
            return 0.0
        floor = 10.0 ** np.floor(np.log10(1e-3 * float(np.median(high)))) if np.median(high) > 0.0 else 1.0
        self.said.append(f"states die away: errors are relative to a size of at least {floor:.0e}")
        return float(floor)

    def reference(self, fam: Family) -> tuple[np.ndarray, np.ndarray]:
        """Reference states of the instances whose references pass, and which those are."""
        found = fam.reference(self.batch)
        if found is None:
            return np.zeros((len(self.batch), 0, self.batch.n)), np.arange(len(self.batch))
        rows = np.flatnonzero(found.ok)
        if rows.size < len(self.batch) // 2:
            worst = np.sort(found.self_error)[len(self.batch) // 2]
            raise OptionError(
                f"family {fam.name}: references of {len(self.batch) - rows.size} of {len(self.batch)} instances do not "
                "pass their "
                f"self-check (two runs differ by {worst:.0e} in the median, {fam.reference_bound:.0e} is wanted): a "
                "chaotic system "
                "needs a shorter span, a larger wanted_error, or error='energy' where an energy is conserved"
            )
        self.said.append(
            f"references: {rows.size} of {len(self.batch)} pass their self-check at {fam.reference_bound:.0e}"
        )
        return np.ascontiguousarray(found.y[rows]), rows

    def grid(self, fam: Family, ref: np.ndarray, rows: np.ndarray) -> tuple[float, ...]:
        """Relative tolerances from errors above the band of levels to errors below it."""
        batch, tried = self.batch[rows], np.geomspace(1e-1, 1e-12, 12)
        median = []
        for rtol in tried:
            sol = self.solve(fam.method, float(rtol), float(rtol) * fam.atol_factor, batch, fam)
            err = errors(fam, batch, sol.y_eval, ref, sol.success)
            median.append(float(np.median(err)))
        err = np.array(median)
        lo, hi = fam.levels
        below = np.flatnonzero(err <= lo)
        if below.size == 0:
            raise OptionError(
                f"family {fam.name}: no tolerance from {tried[0]:.0e} to {tried[-1]:.0e} gives errors of {lo:.0e} "
                f"under {fam.method}; the "
                f"least is {np.min(err):.1e}: a larger wanted_error, or another method"
            )
        above = np.flatnonzero(err > 3.0 * hi)
        loose = tried[above[-1]] if above.size and above[-1] < below[0] else tried[0]
        tight = tried[min(below[0] + 1, len(tried) - 1)]
        self.said.append(f"tolerances: {loose:.0e} to {tight:.0e}")
        return tolerance_grid(float(loose), float(tight))

    def solve(
        self, method: str, rtol: float, atol: float, batch: Batch | None = None, fam: Family | None = None
    ) -> Any:
        """One ensemble at one tolerance, with outputs at the family's times."""
        batch, fam = self.batch if batch is None else batch, self.draft if fam is None else fam
        law = controller(LAWS.get(method, "pi34"))
        return solve_ensemble(batch, method, law, rtol, atol, t_eval=batch.times(fam.fractions), max_steps=ATTEMPTS)
