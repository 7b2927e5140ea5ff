"""Which law a claim is made against, and the whole comparison as one data object.

The denominator is the best of the tuned law and all published laws on the *validation* split.  If one of
them beats it on the test split, the headline is made against that one instead, and says so: the choice can
only become harder for the learned controller.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike

from ..run import provenance
from . import curves
from .curves import Array
from .metric import RESAMPLES, make_row, point_ratio
from .rows import Figure, Row, across_seeds
from .runs import CLOCKS, DENOMINATOR_KINDS, MEASURES, Runs

#: how a clock is called in sentences
CLOCK_NAMES = {"wall": "of ensembles in lanes", "single": "of single solves"}


def choose_denominator(
    runs: Sequence[Runs], levels: ArrayLike, measure: str = "work"
) -> tuple[str, dict[str, float]]:
    """The best law among `runs` of the kinds "tuned" and "classical" on one split.

    Every law is set against every other; the best is the one whose worst ratio against any other is least.
    That is the law that beats all the others where there is one, and laws that lose instances are charged
    for them.  Returns (its name, ratio of every law to it).
    """
    laws = [r for r in runs if r.kind in DENOMINATOR_KINDS]
    if not laws:
        raise ValueError("no law of kind 'tuned' or 'classical' to choose the denominator from")
    for law in laws[1:]:
        if not np.array_equal(law.ids, laws[0].ids):
            raise ValueError(f"laws {laws[0].name!r} and {law.name!r} stand on different instances")
    at = [curves.level_work(r.err, r.work[measure], levels) for r in laws]
    n = len(laws)
    mean = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            if i != j:
                each = curves.instance_ratios(at[i], at[j]).log_ratio
                # instances that both lost say nothing; where there is no other, neither law is the better one
                mean[i, j] = np.nanmean(each) if np.isfinite(each).any() else 0.0
    best = least_worst(mean, [law.name for law in laws])
    return laws[best].name, {law.name: math.exp(mean[i, best]) for i, law in enumerate(laws)}


def least_worst(log_ratio: Array, names: Sequence[str]) -> int:
    """Number of the law whose largest log ratio against any other is least.

    log_ratio: (n, n), row i holding the log ratios of law i to all laws; ties go by the sum of the row, then by name.
    """
    return min(range(len(names)), key=lambda i: (log_ratio[i].max(), log_ratio[i].sum(), names[i]))


@dataclass(frozen=True)
class Comparison:
    """The table of one family and method.  `to_json` is the object that `stepsmith compare --json` prints.

    error           name of the error measure
    instances       how many test instances there are
    seed            what drew them
    against         name of the denominator
    clocks          by clock that was read ("wall", "single"), the name of the law that its figures are against
    controller      the learned controller of the headline, None if there is none
    rows            one a controller
    levels, runs    error levels (L,) and everything measured, kept for the picture
    notes           sentences that belong beside the headline
    """

    family: str
    method: str
    error: str
    instances: int
    seed: int
    against: str
    controller: str | None
    rows: tuple[Row, ...]
    levels: Array
    runs: tuple[Runs, ...]
    notes: tuple[str, ...] = ()
    clocks: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=provenance.versions)
    commit: str | None = field(default_factory=provenance.commit)

    def row(self, name: str) -> Row:
        for r in self.rows:
            if r.name == name:
                return r
        raise ValueError(f"no row {name!r}; rows are {', '.join(r.name for r in self.rows)}")

    def base(self, measure: str) -> str:
        """Name of the denominator in a work measure."""
        return self.clocks.get(measure, self.against)

    def headline(self) -> dict[str, object]:
        """{"against", "against_wall", "against_single", "controller", "nfev", "work", "wall", "single", "uncharged",
        "verdict", "notes"}.

        "uncharged" holds the figures without a charge for lost instances, by measure.

        The verdict is that on "work", which is "nfev" where there is no linear algebra.  "against_wall" and
        "against_single" are null where there was no such clock.
        """
        undefined = Figure(math.nan, math.nan, math.nan)
        work = {} if self.controller is None else self.row(self.controller).work
        figures = {m: w.figure if (w := work.get(m)) is not None else undefined for m in MEASURES}
        head: dict[str, object] = {"against": self.against}
        head |= {f"against_{m}": self.clocks.get(m) for m in CLOCKS}
        head["controller"] = self.controller
        head |= {m: f.to_json() for m, f in figures.items()}
        fair = {m: w.uncharged if (w := work.get(m)) is not None else undefined for m in MEASURES}
        head["uncharged"] = {m: f.to_json() for m, f in fair.items()}
        return head | {"verdict": figures["work"].verdict, "notes": list(self.notes)}

    def to_json(self) -> dict[str, object]:
        return {
            "family": self.family,
            "method": self.method,
            "error": self.error,
            "instances": self.instances,
            "seed": self.seed,
            "versions": self.versions,
            "commit": self.commit,
            "rows": [r.to_json() for r in self.rows],
            "headline": self.headline(),
        }

    def dumps(self) -> str:
        """`to_json` as text; undefined figures are null, so that every JSON reader takes it."""
        return json.dumps(self.to_json(), indent=2, allow_nan=False)


def compare_runs(
    test: Sequence[Runs],
    levels: ArrayLike,
    *,
    family: str,
    method: str,
    error: str,
    seed: int,
    validation: Sequence[Runs] | None = None,
    against: str | None = None,
    controller: str | None = None,
    ideal_slope: float = math.nan,
    notes: Sequence[str] = (),
    bootstrap_seed: int = 0,
    clocks: Mapping[str, str] | None = None,
    seeds: Mapping[str, Sequence[Runs]] | None = None,
) -> Comparison:
    """The comparison of everything measured on the test split.

    test            one `Runs` a controller
    levels          (L,) the family's error levels
    validation      runs of the laws on the validation split, on which the denominator is chosen
    against         or the name of the denominator, chosen there earlier; exactly one of the two is given
    controller      the learned controller of the headline; default the only one of kind "learned", if any
    ideal_slope     p/k, order over exponent order of the method's error estimate
    notes           sentences that stand before those made here
    clocks          by clock ("wall", "single"), the law that is fastest by it on the validation split; default the
                    denominator
    seeds           by controller, the runs of all its training seeds; the one in `test` is the median seed

    Raises ValueError for unknown or doubled names.
    """
    by_name = {r.name: r for r in test}
    if len(by_name) != len(test):
        raise ValueError(f"controller names are not distinct: {', '.join(r.name for r in test)}")
    against, how = _denominator(levels, validation, against)
    said = [*notes, how]
    for name in (against, controller):
        if name is not None and name not in by_name:
            raise ValueError(f"no runs of {name!r} on the test split; there are {', '.join(by_name)}")
    laws = [r for r in test if r.kind in DENOMINATOR_KINDS and r.name != against]
    rivals = {r.name: point_ratio(r, by_name[against], levels) for r in laws}
    if (best := cheaper(rivals)) is not None:
        said.append(
            f"{best} beats {against} on the test split ({rivals[best]:.3f} of its work), "
            f"so the headline is against {best}"
        )
        against = best
    controller = _only_learned(test) if controller is None else controller
    base, lv = by_name[against], np.asarray(levels, dtype=float)
    bases, told = _clocks(test, against, lv, clocks or {})
    said += [*told, _method_note(lv, bootstrap_seed), *_coverage_notes(base, lv)]
    across = {name: several for name, several in (seeds or {}).items() if len(several) > 1}

    def row(r: Runs) -> Row:
        made = whole(r, across.get(r.name, ()))
        if r.kind != "oracle" or controller is None or len(r.ids) == len(base.ids):
            return made
        some = [one.part(r.ids) for one in (by_name[controller], *across.get(controller, ()))]
        return replace(made, here=whole(some[0], some[1:]))

    def whole(r: Runs, mine: Sequence[Runs]) -> Row:
        made = make_row(r, base, lv, seed=bootstrap_seed, ideal_slope=ideal_slope, clocks=bases, seeds=mine)
        if not mine:
            return made
        return replace(made, seeds=across_seeds({i: point_ratio(s, base, lv) for i, s in enumerate(mine)})[1])

    # the bootstrap's gathers and sorts run outside the interpreter lock
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        rows = tuple(pool.map(row, test))
    said += [_bound_note(r) for r in rows if r.here is not None]
    return Comparison(
        family, method, error, len(base.err), seed, against, controller, rows, lv, tuple(test), notes=tuple(said),
        clocks={m: r.name for m, r in bases.items()},
    )  # fmt: skip


def _clocks(
    test: Sequence[Runs], against: str, levels: Array, chosen: Mapping[str, str]
) -> tuple[dict[str, Runs], list[str]]:
    """By clock that was read, the denominator of its figures, and sentences on how they were chosen.

    A chosen law that has no clock on the test split, because all its runs failed there, is replaced by `against`.
    """
    bases, said = {}, []
    for m in CLOCKS:
        timed = {r.name: r for r in test if m in r.work}
        name = chosen.get(m, against)
        if name not in timed and against in timed:
            without = f"{name} has none on the test split"
            said.append(f"clock {CLOCK_NAMES[m]}: {without}, so the figures are against {against}")
            name = against
        elif m in chosen and name in timed:
            said.append(f"clock {CLOCK_NAMES[m]}: against {name}, the fastest law by it on the validation split")
        if name not in timed:
            continue
        laws = [r for r in timed.values() if r.kind in DENOMINATOR_KINDS and r.name != name]
        rivals = {r.name: point_ratio(r, timed[name], levels, m) for r in laws} if m in chosen else {}
        if (best := cheaper(rivals)) is not None:
            said.append(
                f"clock {CLOCK_NAMES[m]}: {best} takes {rivals[best]:.3f} of {name}'s time on the test split, so the "
                f"figures are against {best}"
            )
            name = best
        bases[m] = timed[name]
    return bases, said


def _denominator(levels: ArrayLike, validation: Sequence[Runs] | None, against: str | None) -> tuple[str, str]:
    """The denominator's name, chosen on the validation runs or given, and a sentence on which of the two it is."""
    if validation is not None and against is None:
        chosen, _ = choose_denominator(validation, levels)
        return chosen, f"denominator {chosen}: best law on the validation split"
    if validation is None and against is not None:
        return against, f"denominator {against}: chosen beforehand, as best on the validation split"
    raise ValueError("give either the validation runs or the name of the denominator chosen on them")


def cheaper(ratios: Mapping[str, float]) -> str | None:
    """Name of the least ratio to the denominator where that is below 1 by more than rounding, else None.

    A law without a ratio (NaN) is none of them.
    """
    best = min((k for k, v in ratios.items() if not math.isnan(v)), key=lambda k: (ratios[k], k), default=None)
    return best if best is not None and ratios[best] < 1.0 - 1e-9 else None


def _only_learned(test: Sequence[Runs]) -> str | None:
    """Name of the only learned controller, None where there is none; ValueError where there are several."""
    learned = [r.name for r in test if r.kind == "learned"]
    if len(learned) > 1:
        raise ValueError(f"several learned controllers ({', '.join(learned)}): name the headline's")
    return learned[0] if learned else None


def _method_note(levels: Array, bootstrap_seed: int) -> str:
    return (
        f"{len(levels)} error levels from {levels.max():.0e} to {levels.min():.0e}; "
        f"BCa bootstrap over instances, and over rounds of timing and training seeds where there are several, "
        f"{RESAMPLES} resamples, seed {bootstrap_seed}"
    )


def _bound_note(row: Row) -> str:
    """A sentence that sets a bound beside the headline's controller on the bound's instances."""
    (w, here) = (r.work["nfev"] for r in (row, row.here) if r is not None)
    assert w is not None and here is not None and row.here is not None  # every Runs has "nfev"
    said = [f"{name} {f.ratio:.2f} [{f.low:.2f}, {f.high:.2f}]" for name, f in (
        (row.name, w.figure), (row.here.name, here.figure))]  # fmt: skip
    return f"on the {len(w.instances)} instances of {row.name}, f-evaluations: {', '.join(said)}"


def _coverage_notes(base: Runs, levels: Array) -> list[str]:
    """A sentence on the instances on which the denominator reaches too little of the band, where there are such."""
    reach = np.isfinite(curves.log_work_at(base.err, base.work["work"], levels)).mean(axis=1)
    thin = int((reach < curves.COVERAGE - 1e-12).sum())
    if not thin:
        return []
    return [
        f"{base.name} reaches less than {100 * curves.COVERAGE:.0f} % of the band on {thin} of {len(reach)} instances: "
        "there the levels it reaches decide"
    ]
