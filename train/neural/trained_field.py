"""Controllers on a trained neural ODE, by matched-error work: one instance is one sample, the error is that of its
final state.

Every controller runs through the torch solver with its own steps for every sample, at the tolerances and on the error
levels below. They were fixed on the published laws alone, before a learned controller ran: a digits field trained by
`neural_demo` ends with errors of 1e-4 at the loosest and 1e-7 at the tightest tolerance under the thriftiest law, on
the easiest and the hardest sample.

As a cross-check `torchdiffeq` itself (R. T. Q. Chen, https://github.com/rtqichen/torchdiffeq) solves some samples, one
at a time, with its defaults (dopri5): a row of its own, and its evaluations beside those of the same law and method in
this engine.
"""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ...controllers import resolve
from ...controllers.laws import registry
from ...integrators.core import record as rec
from ...integrators.core.tolerance_scale import unscaled
from ...integrators.neural import odeint
from ...integrators.neural.checks import FILLS
from ...integrators.problems.families import LEVELS_PER_DECADE, tolerance_grid
from ..evaluate.contestants import HOSTS
from ..evaluate.curves import Array
from ..evaluate.headline import Comparison, choose_denominator, compare_runs
from ..evaluate.metric import DENOMINATOR_KINDS, Runs
from ..evaluate.rates import without_turns
from ..run.progress import Progress
from .digits_field import Field, TrainedField

TOLERANCES = tolerance_grid(1.0, 1e-7)
LEVELS = (1e-6, 3e-5)
METHOD = "tsit5"
ITSELF = "torchdiffeq itself"
#: attempts a sample may make; some hundred times what the laws need
MAX_STEPS = 2_000

#: a controller of a table: name, kind, object
Entry = tuple[str, str, Any]


def error_levels() -> Array:
    """Error levels of the band, eight a decade, ascending."""
    lo, hi = np.log10(LEVELS)
    return np.logspace(lo, hi, int(round((hi - lo) * LEVELS_PER_DECADE)) + 1)


def reference(field: Field, y0: torch.Tensor) -> Array:
    """Final states (B, n) on [0, 1] by DOP853 at 1e-13.

    RuntimeError where a run at 1e-11 is further off than a hundredth of the band.
    """
    ends = [_solve(field, y0, "dop853", registry.get("pi34"), tol).y[-1].numpy() for tol in (1e-13, 1e-11)]
    worst = float(_errors(ends[1], ends[0]).max())
    if not worst <= LEVELS[0] / 100:
        raise RuntimeError(f"the reference of the trained field failed its self-check: {worst:.1e} apart")
    return ends[0]


def run(
    field: Field,
    y0: torch.Tensor,
    ref: Array,
    controller: Any,
    name: str,
    kind: str,
    method: str = METHOD,
    ids: Any = None,
) -> Runs:
    """A controller on every sample at every tolerance (rtol = atol): errors, evaluations, attempts.

    y0 (B, n) float64, ref (B, n); ids (B,): the samples' numbers.
    """
    err, nfev, attempts, rejected = (np.empty((len(y0), len(TOLERANCES))) for _ in range(4))
    for k, tol in enumerate(TOLERANCES):
        sol = _solve(field, y0, method, controller, tol)
        err[:, k] = np.where(sol.status > 0, _errors(sol.y[-1].numpy(), ref), np.inf)
        s = sol.stats
        nfev[:, k], rejected[:, k] = s.nfev_per_sample, s.nreject_per_sample
        attempts[:, k] = s.naccept_per_sample + s.nreject_per_sample
    return Runs(name, err, {"nfev": nfev}, np.array(TOLERANCES), attempts, rejected, kind, ids)


def torchdiffeq_itself(field: Field, y0: torch.Tensor, ref: Array, ids: Any = None) -> Runs:
    """torchdiffeq's `odeint` with its defaults (dopri5), one sample a solve; needs torchdiffeq."""
    from torchdiffeq import odeint as other

    err, nfev = (np.empty((len(y0), len(TOLERANCES))) for _ in range(2))
    span = torch.tensor([0.0, 1.0], dtype=y0.dtype)
    with torch.no_grad():
        for i, k in np.ndindex(*err.shape):
            before = field.calls
            end = other(field, y0[i : i + 1], span, rtol=TOLERANCES[k], atol=TOLERANCES[k])[-1]
            err[i, k], nfev[i, k] = _errors(end.numpy(), ref[i : i + 1])[0], field.calls - before
    return Runs(ITSELF, err, {"nfev": nfev}, np.array(TOLERANCES), kind="host", instances=ids)


def compare_on_field(
    trained: TrainedField,
    learned: Mapping[str, Any],
    tuned: Any = None,
    *,
    n: int = 200,
    n_validation: int = 100,
    n_torchdiffeq: int = 16,
    repeats: int = 2,
    seed: int = 0,
    progress: bool = True,
) -> Comparison:
    """Learned controllers against every published law, the tuned one and torchdiffeq on held-out samples.

    learned          the controllers by name
    tuned            the law called so; default that of the family `neural_field`
    n                held-out images to compare on, drawn with `seed`
    n_validation     other ones, to choose the denominator on
    n_torchdiffeq    how many of the first torchdiffeq itself solves
    repeats          rounds of timing, in which the controllers take turns; 0 leaves the clock out

    Raises ValueError where there are not as many held-out images, or where no tuned law is there.
    """
    held = len(trained.y0)
    if min(n, n_validation) < 2 or n + n_validation > held:
        raise ValueError(
            f"n and n_validation must be at least 2 and fit into {held} held-out images, got {n} and {n_validation}"
        )
    field = trained.field
    tuned = resolve.controller("tuned", "neural_field", METHOD) if tuned is None else tuned
    drawn = np.random.default_rng(seed).permutation(held)
    rows, other = np.sort(drawn[:n]), np.sort(drawn[n : n + n_validation])
    y0, y_valid = trained.y0[rows], trained.y0[other]
    ref, ref_valid = reference(field, y0), reference(field, y_valid)
    table = [*_laws(), ("tuned", "tuned", tuned), *((name, "learned", c) for name, c in learned.items())]
    sweeps = 2 * len(table) + 1 + repeats * len(TOLERANCES)
    bar = Progress("controllers on the trained field", sweeps, "sweeps", progress)
    notes = [
        f"{n} held-out images drawn with seed {seed} to compare on, {n_validation} others to choose the denominator on"
    ]
    try:
        laws = [row for row in table if row[1] in DENOMINATOR_KINDS]
        bar.advance(len(table) - len(laws))  # learned controllers and hosts do not run there
        against, _ = choose_denominator(_runs(field, y_valid, ref_valid, laws, bar), error_levels())
        runs = _runs(field, y0, ref, table, bar, rows)
        if n_torchdiffeq:
            few = slice(0, n_torchdiffeq)
            itself = torchdiffeq_itself(field, y0[few], ref[few], rows[few])
            same = run(field, y0[few], ref[few], registry.get("torchdiffeq"), "torchdiffeq", "host", "dopri5")
            runs.append(itself)
            notes.append(_cross_check(itself, same))
        bar.advance()
        if repeats:
            runs = _clocked(field, y0, table, runs, repeats, bar)
            notes.append("wall clock: the torch solver on one thread, all samples at once")
    finally:
        bar.close()
    return compare_runs(
        runs, error_levels(), family="trained field (digits)", method=METHOD, error="final state", seed=seed,
        against=against, controller=next(iter(learned), None), notes=notes,
    )  # fmt: skip


def _runs(
    field: Field, y0: torch.Tensor, ref: Array, table: Sequence[Entry], bar: Progress, ids: Any = None
) -> list[Runs]:
    """The runs of every controller of the table, in its order."""
    out = []
    for name, kind, controller in table:
        out.append(run(field, y0, ref, controller, name, kind, ids=ids))
        bar.advance()
    return out


def _laws() -> list[Entry]:
    """The published linear laws that the torch solver can drive."""
    fills = FILLS | {rec.HS}
    named = [(name, registry.get(name)) for name in registry.names("linear")]
    return [(name, "host" if name in HOSTS else "classical", law) for name, law in named if law.needs <= fills]


def _solve(field: Field, y0: torch.Tensor, method: str, controller: Any, tol: float) -> Any:
    span = torch.tensor([0.0, 1.0], dtype=y0.dtype)
    return odeint(
        field,
        y0,
        span,
        method,
        unscaled(controller),  # compared at equal error
        tol,
        tol,
        adjoint="none",
        max_steps=MAX_STEPS,
        heuristics=False,
        compact=True,
    )


def _errors(y: Array, ref: Array) -> Array:
    with np.errstate(invalid="ignore"):
        return np.linalg.norm(y - ref, axis=1) / np.linalg.norm(ref, axis=1)


def _clocked(
    field: Field, y0: torch.Tensor, table: Sequence[Entry], runs: list[Runs], repeats: int, bar: Progress
) -> list[Runs]:
    """The same runs with "wall", totals of a batch shared out by evaluations: the median of `repeats` rounds, each in
    an order of its own.
    """
    spent = np.empty((len(table), repeats, len(TOLERANCES)))
    rng = np.random.default_rng(0)
    for round_ in range(repeats):
        for k, tol in enumerate(TOLERANCES):
            for i in rng.permutation(len(table)):
                began = time.perf_counter()
                _solve(field, y0, METHOD, table[i][2], tol)
                spent[i, round_, k] = time.perf_counter() - began
            bar.advance()
    spent = without_turns(spent)
    timed = []
    for r, rounds in zip(runs, spent, strict=False):
        middle = np.median(rounds, axis=0)
        made = Runs(
            r.name, r.err, {**r.work, "wall": middle}, r.tol, r.attempts, r.rejected, r.kind, r.ids,
            {"wall": rounds / middle},
        )  # fmt: skip
        timed.append(made)
    return timed + runs[len(timed) :]


def _cross_check(itself: Runs, same: Runs) -> str:
    mine, theirs = int(same.work["nfev"].sum()), int(itself.work["nfev"].sum())
    version = importlib.metadata.version("torchdiffeq")
    solves = f"{len(itself.ids)} samples at {len(TOLERANCES)} tolerances"
    return (
        f"torchdiffeq {version} itself (dopri5): {theirs} f-evaluations on {solves}; "
        f"its law in this engine with dopri5: {mine}"
    )
