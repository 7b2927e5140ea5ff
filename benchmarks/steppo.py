"""StePPO's set-up: attempted steps and errors of Kvaerno's 5(4) at rtol 1e-3, atol 1e-6 under our laws, beside
diffrax's controllers.

    python benchmarks/steppo.py [--systems vdpol ...] [--match] [--points 61] [--guests C ...] [--no-diffrax] [--json]

M. Koumans, N. Pezzotti and T. S. W. Stevens, "StePPO: Adaptive Step-Size Control for Initial-Value Problems Using PPO",
repository MKoumans/StePPO. Its REPRODUCE.md prints, for van der Pol at mu = 50: 175 attempts, mean log10 error -4.24,
final -6.22 (StePPO) and 378, -3.67, -4.97 ("pid", diffrax's default, a pure I law). Errors are its own: ||y -
y_ref||/(||y_ref|| + atol), at the end and as the mean of log10 over accepted steps; for the decay, whose reference
vanishes, the second alone means much. Here the reference is ours.

"by Newton" counts the rejections for which no error estimate was to blame but Newton's iteration. diffrax converges the
slope h f(y) of each stage to .01 (atol + rtol |h f(y)|), where this library and RADAU5 ask for .03 (atol + rtol |y|):
where steps are small against the solution's scale it has far more to do, its limit of ten iterations fails it, and the
step is cut, which costs attempts and leaves smaller errors. The row "exact Newton" is diffrax without that. On the
decay, which is linear, both take the same steps. The other way round, our error estimate carries Newton's remainder
(6e-4 after one iteration where an exact one gives 2e-5): the PI law with safety .54, which rests at an error of 5e-4,
stops growing its steps there.

`--match`: van der Pol, mu = 50, every law at `--points` tolerances from 1e-2 to 1e-8: fewest attempts with a final
error that is no larger than the target, at that and all tighter tolerances ("sure") and by any tolerance ("luckiest").
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from figures.save import parsed

import stepsmith as ss
from stepsmith.controllers import resolve
from stepsmith.controllers.laws import registry
from stepsmith.controllers.laws.law import Law
from stepsmith.integrators import problems
from stepsmith.integrators.core import record
from stepsmith.integrators.problems.problem import Problem
from stepsmith.integrators.reference.radau import stiff_reference

RTOL, ATOL = 1e-3, 1e-6
#: values of the system's parameter; first step, least and largest step of its published runs
SYSTEMS: dict[str, tuple[tuple[float, ...], tuple[float, float, float]]] = {
    "vdpol": ((5.0, 50.0, 100.0), (1e-3, 1e-6, 5.0)),
    "brusselator": ((3.0, 5.0, 10.0, 50.0), (1e-4, 1e-5, 5.0)),
    "decay": ((1.0, 10.0, 50.0, 100.0), (0.1, 1e-5, 10.0)),
}
PUBLISHED = {"StePPO": (175, -4.24, -6.22), "its pid": (378, -3.67, -4.97)}  # van der Pol, mu = 50
#: a PI law for van der Pol in diffrax's coefficients: p, i, safety, least and largest factor
TUNED: dict[str, Any] = {"pcoeff": 0.34, "icoeff": 0.40, "safety": 0.54, "factormin": 0.5, "factormax": 5.0}


@dataclass(frozen=True)
class Row:
    """One run: attempts, rejected, of these because of Newton; right-hand sides (NaN: unknown), mean log10 and final
    error.
    """

    name: str
    attempts: int
    rejected: int
    newton: float
    nfev: float
    log_error: float
    final: float


def from_diffrax(name: str, pcoeff: float = 0.0, icoeff: float = 1.0, dcoeff: float = 0.0, safety: float = 0.9,
                 factormin: float = 0.2, factormax: float = 10.0) -> Law:  # fmt: skip
    """diffrax's PIDController as a law: h' = h safety e_n^-(p+i+d)/k e_(n-1)^(p+2d)/k e_(n-2)^-d/k, from 1 up where a
    step was accepted.
    """
    law = registry.get(
        "diffrax", b1=pcoeff + icoeff + dcoeff, b2=-(pcoeff + 2.0 * dcoeff), b3=dcoeff, safety=safety, fmin=factormin,
        fmax=factormax,
        reject_max=safety, nonfinite=factormin,
    )  # fmt: skip
    return Law(name, "linear", law.values, law.rules, law.doc, law.source)


def instance(system: str, value: float) -> Problem:
    """The published instance of family steppo_<system> with its parameter set to `value`."""
    base = problems.make(f"steppo_{system}")
    return Problem(base.rhs, base.y0, base.t_span, [*base.p[:-1], value], jac=base.jac, name=base.name)


def errors(problem: Problem, t: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Mean log10 and final error of states y (T, n) at times t (T,), as StePPO measures them."""
    fractions = np.clip((t - problem.t_span[0]) / (problem.t_span[1] - problem.t_span[0]), 0.0, 1.0)
    found = stiff_reference(problem, fractions, atol_factor=1e-3, floor=ATOL, cache=False)
    if not found.ok[0]:
        raise ValueError(f"{problem.name}: the reference failed its self check ({found.self_error[0]:.1e})")
    error = np.linalg.norm(y - found.y[0], axis=1) / (np.linalg.norm(found.y[0], axis=1) + ATOL)
    return float(np.mean(np.clip(np.log10(error + 1e-16), -16.0, 3.0))), float(error[-1])


def ours(problem: Problem, law: Any, name: str, rtol: float = RTOL, **options: Any) -> Row:
    """Kvaerno5 of this library under a law."""
    sol = ss.solve(problem, "kvaerno5", law, rtol=rtol, atol=rtol * ATOL / RTOL, log=True, **options)
    if not sol.success:
        return Row(
            name, sol.stats.naccept + sol.stats.nreject, sol.stats.nreject, math.nan, sol.stats.nfev, math.nan, math.inf
        )
    assert sol.record is not None
    failed = int(np.sum(sol.record[:, record.FINITE] == 0.0))
    log_error, final = errors(problem, sol.t[1:], sol.y[1:])
    return Row(name, sol.stats.naccept + sol.stats.nreject, sol.stats.nreject, failed, sol.stats.nfev, log_error, final)


class Diffrax:
    """Kvaerno5 of diffrax, attempt by attempt, so that the cause of a rejection is seen.  Raises ImportError where it
    is missing.
    """

    def __init__(self) -> None:
        import diffrax
        import jax
        import optimistix

        jax.config.update("jax_enable_x64", True)
        self.dfx, self.jax, self.optx = diffrax, jax, optimistix

    def run(
        self, problem: Problem, bounds: tuple[float, float, float], name: str, exact: bool = False, **coefficients: Any
    ) -> Row:
        """One solve with its published first step and bounds; coefficients: of PIDController, numbers."""
        dfx, jnp = self.dfx, self.jax.numpy
        start, least, largest = bounds
        t_end, parameters = problem.t_span[1], jnp.asarray(problem.p)

        def f(t: Any, y: Any, args: Any) -> Any:
            dy: dict[int, Any] = {}
            problem.rhs(t, y, parameters, dy)
            return jnp.stack([dy[i] for i in range(problem.n)])

        term = dfx.ODETerm(f)
        control = dfx.PIDController(rtol=RTOL, atol=ATOL, dtmin=least, dtmax=largest, force_dtmin=False, **coefficients)
        if exact:
            solver = dfx.Kvaerno5(root_finder=self.optx.Newton(rtol=1e-8, atol=1e-11), root_find_max_steps=20)
        else:
            solver = dfx.Kvaerno5(root_finder=dfx.VeryChord(rtol=RTOL, atol=ATOL, norm=self.optx.rms_norm))
        y = jnp.asarray(problem.y0)
        t, (t_next, state) = 0.0, control.init(term, 0.0, t_end, y, start, None, solver.func, 5)
        inner = solver.init(term, t, t_next, y, None)

        @self.jax.jit
        def attempt(t: Any, t_next: Any, y: Any, inner: Any, state: Any) -> Any:
            new, gap, _, after, _ = solver.step(term, t, t_next, y, None, inner, False)
            keep, t0, t1, _, state, _ = control.adapt_step_size(t, t_next, y, new, None, gap, 5, state)
            pick = lambda a, b: self.jax.tree_util.tree_map(lambda u, v: jnp.where(keep, u, v), a, b)  # noqa: E731
            return keep, t0, t1, pick(new, y), pick(after, inner), state, jnp.isfinite(gap).all()

        attempts = rejected = failed = 0
        times, states = [], []
        while t < t_end and attempts < 20_000:
            keep, t0, t1, y, inner, state, fine = attempt(t, min(float(t_next), t_end), y, inner, state)
            attempts += 1
            if keep:
                times.append(float(t0))
                states.append(np.asarray(y))
            else:
                rejected += 1
                failed += not fine
            t, t_next = float(t0), t1
        return Row(name, attempts, rejected, failed, math.nan, *errors(problem, np.array(times), np.array(states)))


def laws(system: str, guests: list[str]) -> dict[str, Any]:
    """Every published linear law and the tuned PID, by name, diffrax's own first; the laws tuned on the suite and on
    the system; guests.
    """
    names = ["diffrax", *(name for name in registry.names("linear") if name != "diffrax")]
    return {"diffrax": registry.get("diffrax"), "PID .34 .40": from_diffrax("PID .34 .40", **TUNED)} | {
        **{n: registry.get(n) for n in names},
        "tuned on the suite": resolve.controller("tuned", "steppo", "kvaerno5"),
        "tuned on the system": resolve.controller("tuned", f"steppo_{system}", "kvaerno5"),
        **{guest: resolve.controller(guest) for guest in guests},
    }


def rows(
    system: str, value: float, bounds: tuple[float, float, float], peer: Diffrax | None, guests: list[str]
) -> list[Row]:
    """All runs of one instance."""
    problem = instance(system, value)
    out = []
    if peer is not None:
        out.append(peer.run(problem, bounds, "diffrax: default (I)"))
        out.append(peer.run(problem, bounds, "diffrax: PID .34 .40", **TUNED))
        out.append(peer.run(problem, bounds, "diffrax: default, exact Newton", exact=True))
    out.append(ours(problem, registry.get("diffrax"), "diffrax, first step as published", first_step=bounds[0]))
    return out + [ours(problem, law, name) for name, law in laws(system, guests).items()]


def match(points: int, guests: list[str]) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Van der Pol, mu = 50: attempts of every law at no larger final error than published, with the tolerances they
    take.
    """
    targets = {name: 10.0**final for name, (_, _, final) in PUBLISHED.items()}
    problem, tolerances = instance("vdpol", 50.0), np.geomspace(1e-2, 1e-8, points)
    end = stiff_reference(problem, [1.0], atol_factor=1e-3).y[0, -1]
    out = []
    for name, law in laws("vdpol", guests).items():
        runs = []
        for rtol in tolerances:
            sol = ss.solve(problem, "kvaerno5", law, rtol=float(rtol), atol=float(rtol) * ATOL / RTOL)
            error = np.linalg.norm(sol.y[-1] - end) / (np.linalg.norm(end) + ATOL) if sol.success else np.inf
            runs.append((sol.stats.naccept + sol.stats.nreject, float(error), float(rtol)))
        row: dict[str, Any] = {"law": name}
        for label, most in targets.items():
            good = [error <= most for _, error, _ in runs]
            first = len(good) - next((k for k, g in enumerate(reversed(good)) if not g), len(good))
            kept = [run for run, g in zip(runs, good, strict=True) if g]
            row[label] = {"sure": min(runs[first:], default=None), "luckiest": min(kept, default=None)}
        out.append(row)
    return out, targets


def table(found: list[Row]) -> str:
    """Markdown."""
    lines = [
        "| run | attempts | rejected | by Newton | f-evaluations | mean log10 error | final error |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in found:
        nfev, newton = (f"{v:.0f}" if v == v else "-" for v in (r.nfev, r.newton))
        lines.append(
            f"| {r.name} | {r.attempts} | {r.rejected} | {newton} | {nfev} | {r.log_error:.2f} | {r.final:.1e} |"
        )
    return "\n".join(lines)


def matched_table(found: list[dict[str, Any]], targets: dict[str, float]) -> str:
    """Markdown, the fewest sure attempts at the first target first."""
    show: Callable[[Any], str] = lambda r: f"{r[0]} (rtol {r[2]:.1e}, error {r[1]:.1e})" if r else "-"  # noqa: E731
    head = [f"{label}, {most:.1e}: {how}" for label, most in targets.items() for how in ("sure", "luckiest")]
    lines = ["| law | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    first = next(iter(targets))
    for row in sorted(found, key=lambda r: r[first]["sure"] or (math.inf,)):
        lines.append(
            f"| {row['law']} | " + " | ".join(show(row[k][how]) for k in targets for how in ("sure", "luckiest")) + " |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=list(SYSTEMS))
    parser.add_argument(
        "--match", action="store_true", help="matched final error, van der Pol at mu = 50, instead of the tables"
    )
    parser.add_argument("--points", type=int, default=61, help="tolerances of --match")
    parser.add_argument("--guests", nargs="*", default=[], help="controllers by zoo name or path")
    parser.add_argument("--no-diffrax", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parsed(parser)
    if args.match:
        found, targets = match(args.points, args.guests)
        print(json.dumps({"targets": targets, "laws": found}, indent=1) if args.json else matched_table(found, targets))
        return
    peer = None if args.no_diffrax else Diffrax()
    everything: dict[str, list[dict[str, Any]]] = {}
    for system in args.systems:
        values, bounds = SYSTEMS[system]
        for value in values:
            out = rows(system, value, bounds, peer, args.guests)
            everything[f"{system} {value:g}"] = [vars(r) for r in out]
            if not args.json:
                print(f"\n## {system}, parameter {value:g}\n\n{table(out)}", flush=True)
    if args.json:
        print(json.dumps(everything, indent=1))


if __name__ == "__main__":
    main()
