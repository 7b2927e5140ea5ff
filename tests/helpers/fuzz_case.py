"""One fuzzed right-hand side, integrated by random methods and laws at random tolerances, against SciPy at tight
tolerance.

A success must be within 1,000 tolerances of the reference where the problem is not chaotic: where a perturbation of the
start has not grown a thousandfold, and where two of SciPy's methods agree.  Where the solution grows by more than
`GROWTH` there is no such bound: it takes hundreds of steps, each of which adds its tolerance of the state.  A law that
accepts by its factor may let pass an error estimate of up to `ACCEPT_MAX` tolerances, which the solve counts and says;
such a solve may be off by as many times more.  What does not succeed must say so within bounded time.
"""

from __future__ import annotations

import random
import warnings
from dataclasses import dataclass, field
from typing import Any

import numba
import numpy as np
from scipy.integrate import solve_ivp

import stepsmith as ss
from grammar import Case, build
from method_kinds import EXPLICIT, IMPLICIT
from stepsmith.controllers.laws import registry
from stepsmith.integrators.core.contract import ACCEPT_MAX
from stepsmith.integrators.methods import get as get_method

# in the order in which the published cases were drawn: a seed stands for the same cases as long as it stays, so that
# methods which came later (`LATER`, and the pairs of `test_more_pairs`) are not among them
METHODS = (
    "bs32", "dopri5", "tsit5", "dop853", "rodas5p", "ros34pw2", "ros3prw", "kvaerno5", "esdirk43", "radau5",
)  # fmt: skip
LATER = {"rosenbrock23"}
assert set(METHODS) == {*EXPLICIT, *IMPLICIT} - LATER
LIMIT = 1000.0
GROWTH = 1e12
#: evaluations after which a reference is given up
CALLS = 60_000
COUNTS = ("cases", "compared", "failed", "unjudged", "let_pass", "far_let_pass")
WORST = ("worst", "worst_let_pass")


@dataclass
class Report:
    """Counts of what ran: cases, successes compared, failures that said so, cases without a reference; `findings` are
    faults.

    let_pass: of those compared, the ones that accepted an estimate above the tolerance; worst and worst_let_pass:
    largest errors, in tolerances, of the others and of these; far_let_pass: those of these above `LIMIT`.
    """

    cases: int = 0
    compared: int = 0
    failed: int = 0
    unjudged: int = 0
    let_pass: int = 0
    far_let_pass: int = 0
    worst: float = 0.0
    worst_let_pass: float = 0.0
    findings: list[str] = field(default_factory=list)

    def add(self, other: Report) -> None:
        for name in COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in WORST:
            setattr(self, name, max(getattr(self, name), getattr(other, name)))
        self.findings += other.findings


def laws() -> list[str]:
    """Laws that need nothing but the error."""
    return [name for name in registry.names() if name not in ("constant", "amuse", "aarseth", "ias15")]


def reference(rhs: Any, y0: np.ndarray, p: np.ndarray, span: tuple[float, float]) -> tuple[np.ndarray, float] | None:
    """State at the end and its largest size on the way; None where the problem is chaotic, the solution
    grows by more than `GROWTH`, or SciPy's methods disagree.
    """
    left = [0]

    def f(t: float, y: np.ndarray) -> np.ndarray:
        left[0] -= 1
        if left[0] < 0:  # a sliding mode, perhaps
            raise FloatingPointError
        dy = np.full(y.size, np.nan)
        rhs(float(t), y, p, dy)
        return dy

    ends = []
    size = 0.0
    for method, start in (("DOP853", y0), ("LSODA", y0), ("DOP853", y0 * (1 + 1e-7) + 1e-7)):
        left[0] = CALLS
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                sol = solve_ivp(
                    f, span, start, method=method, rtol=1e-11, atol=1e-12, max_step=abs(span[1] - span[0]) / 20
                )
            except (ValueError, FloatingPointError):
                return None
        if not sol.success or not np.isfinite(sol.y).all():
            return None
        ends.append(sol.y[:, -1])
        size = max(size, float(np.abs(sol.y).max()))
    if size > GROWTH * (1.0 + np.abs(y0).max()):
        return None
    if np.abs(ends[0] - ends[1]).max() > 1e-7 * (size + 1e-3) or np.abs(ends[0] - ends[2]).max() > 1e3 * 1e-7 * (
        size + 1.0
    ):
        return None
    return ends[0], size


def check(
    case: Case, rng: random.Random, methods: int = 2, variants: int = 10, only: tuple[str, ...] = METHODS
) -> Report:
    """Integrate a case with some methods, each at several starts, spans, tolerances and laws, by single solves and in
    lanes.
    """
    rhs, report, names = build(case), Report(), laws()
    independent = numba.njit(build(case, ours=False))
    references: dict[int, Any] = {}
    starts = []
    for _ in range(8):
        y0 = np.array([round(rng.uniform(-1.5, 1.5), 3) for _ in range(case.n)])
        t0 = rng.choice([0.0, -1.0, 3.0])
        span = (t0, t0 + rng.choice([1.0, -1.0]) * rng.choice([0.1, 1.0, 4.0]))
        starts.append((y0, np.array([round(rng.uniform(-1.5, 1.5), 3) for _ in range(case.m)]), span))
    for method in rng.sample(only, min(methods, len(only))):
        law, wide = rng.choice(names), rng.random() < 0.3  # a kernel each: few of them, and many solves
        for k in range(variants):
            at = rng.randrange(len(starts))
            y0, p, span = starts[at]
            if at not in references:
                references[at] = reference(independent, y0, p, span)
            tightest = -6 if get_method(method).order <= 3 else -8  # methods of low order take too many steps beyond it
            rtol = 10.0 ** rng.uniform(tightest, -3)
            atol = rtol * rng.choice([1.0, 1e-2])
            lanes = wide and k % 2 == 0
            setting = f"{method} {law} rtol={rtol:.2e} atol={atol:.2e} y0={y0.tolist()} p={p.tolist()} span={span}"
            what = f"{setting}\n{case.source}{case.captured}"
            report.cases += 1
            problem = ss.Problem(rhs, y0, span, p)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    if lanes:
                        ens = ss.solve_ensemble(problem.batch(), method, law, rtol, atol, max_steps=200_000, threads=1)
                        success, y, message, over = (
                            bool(ens.success[0]),
                            ens.y[0],
                            ens.message(0),
                            int(ens.stats.naccept_over[0]),
                        )
                    else:
                        sol = ss.solve(problem, method, law, rtol, atol, max_steps=200_000)
                        success, y, message, over = sol.success, sol.y[-1], sol.message, sol.stats.naccept_over
                except Exception as error:
                    report.findings.append(f"{type(error).__name__}: {error}\n{what}")
                    continue
            if references[at] is None:
                report.unjudged += 1
            elif not success:
                report.failed += 1
                if not message:
                    report.findings.append(f"no word of why\n{what}")
            else:
                end, size = references[at]
                report.compared += 1
                error = float(np.abs(y - end).max() / (atol + rtol * max(size, 1e-3)))
                if over:
                    report.let_pass += 1
                    report.far_let_pass += error > LIMIT
                    report.worst_let_pass = max(report.worst_let_pass, error) if np.isfinite(error) else np.inf
                else:
                    report.worst = max(report.worst, error) if np.isfinite(error) else np.inf
                if not error <= (ACCEPT_MAX if over else 1.0) * LIMIT:
                    report.findings.append(
                        f"success {error:.3g} tolerances off, {over} accepted above the tolerance\n{what}"
                    )
    return report
