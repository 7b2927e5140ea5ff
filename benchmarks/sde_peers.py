"""Paths of stochastic differential equations at equal error: `solve_sde` with laws and with equal steps, diffrax and
torchsde, on one thread.

    python benchmarks/sde_peers.py                    tables in Markdown, some minutes
    python benchmarks/sde_peers.py --json FILE        all runs, too
    python benchmarks/sde_peers.py --only gbm bounded --paths 500 --own
    python benchmarks/sde_peers.py --estimates        work by the error estimates published / difference

The strong error is the mean of |y - y*| at the end over the mean of |y*|, y* on the same Brownian motion: exact where
there is a solution (gbm, bounded, additive_decay), else by small equal steps of the same solver.  The weak error is
|mean (y - y*)| over the mean of |y*|, on the same paths, with its standard error.  Work at an error level is
interpolated between runs, log over log; "-" where the runs do not reach it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from figures.save import parsed
from sde_foreign import FINE, Run, diffrax_runs, torchsde_runs

import stepsmith as ss
from stepsmith.controllers.laws import registry
from stepsmith.integrators.engine.sde import run_paths
from stepsmith.integrators.methods import sde as methods
from stepsmith.integrators.noise.normal import keys

#: problems, our method on them, diffrax's solvers, and the error level that is compared at
PROBLEMS = {
    "gbm": ("sosri", ("Heun",), 5e-3),
    "bounded": ("sosri", ("Heun",), 5e-3),
    "lotka_volterra": ("sosri", ("Heun",), 1e-2),
    "additive_decay": ("sra1", ("Heun", "SRA1", "ShARK"), 1e-4),
    "fitzhugh_nagumo": ("sra1", ("Heun", "SRA1", "ShARK"), 0.2),
}
LAWS = ("i", "pi34", "pi42", "h211b")
STEPS = (4, 8, 16, 32, 64, 128, 256, 512)
TOLERANCES = (0.5, 0.2, 0.1, 0.03, 0.01, 3e-3)
#: of estimates that are differences, at which errors are larger
TIGHTER = (0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5)
FOREIGN = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3)


def bounded_drift(t, y, p, dy):
    dy[0] = -p[0] * (1.0 - y[0] * y[0])


#: parameters, and the drift where it is another function, of Stratonovich's form
STRATONOVICH = {
    "gbm": (lambda p: (p[0] - 0.5 * p[1] ** 2, p[1]), None), "bounded": (lambda p: p, bounded_drift),
    "lotka_volterra": (lambda p: (p[0] - 0.5 * p[4] ** 2, p[1], p[2], p[3] + 0.5 * p[5] ** 2, p[4], p[5]), None),
}  # fmt: skip


def for_heun(problem: Any) -> Any:
    """The same equation as `stochastic_heun` takes it."""
    if problem.noise == "additive":
        return problem
    changed, drift = STRATONOVICH[problem.name]
    own = problem.p
    exact = problem.exact and (lambda t, w, h, y0, p: problem.exact(t, w, h, y0, own))
    return ss.SDEProblem(
        drift or problem.drift, problem.diffusion, problem.y0, problem.t_span, changed(own), problem.noise,
        "stratonovich", exact, problem.name,
    )  # fmt: skip


def our_runs(
    problem: Any, method: str, law: str | None, paths: int, estimate: str = "published"
) -> Iterator[tuple[str, Run]]:
    """Runs of `solve_sde` by a law, or, None, by equal steps; from the tree where the reference needs the same path."""
    source = "tree" if problem.exact is None else "memory"

    def solved(**given: Any) -> Any:
        return ss.solve_sde(problem, paths, method, source=source, seed=7, threads=1, **given)

    fine = None
    if problem.exact is None:
        fine = solved(step_size=(problem.t_span[1] - problem.t_span[0]) / (4 * FINE)).y[:, 0]
    for k in STEPS if law is None else TOLERANCES if estimate == "published" else TIGHTER:
        if law is None:
            given: dict[str, Any] = {"step_size": (problem.t_span[1] - problem.t_span[0]) / k}
        else:
            given = {"controller": law, "rtol": k, "atol": k, "estimate": estimate}
        sol = solved(**given)
        ref = fine if fine is not None else problem.exact(sol.t, sol.W, sol.H, problem.y0, problem.p)[:, 0]
        yield f"{k} steps" if law is None else f"{k:.2g}", (sol.y[:, 0], ref, sol.stats.nfev.mean(), sol.stats.wall_s)


def row(what: str, label: str, run: Run) -> dict[str, Any]:
    """A run as numbers: errors, work and time a path."""
    y, ref, work, seconds = run
    good = np.isfinite(y).all(1) & np.isfinite(ref).all(1)
    if not good.any():
        nothing = dict.fromkeys(("strong", "weak", "weak_se"), np.inf)
        return {"what": what, "knob": label, **nothing, "work": work, "us": 1e6 * seconds / len(y), "failed": len(y)}
    off, size = (y - ref)[good], np.abs(ref[good]).mean()
    return {
        "what": what, "knob": label, "strong": float(np.abs(off).mean() / size),
        "weak": float(np.abs(off.mean(0)).max() / size), "weak_se": float(off.std(0).max() / np.sqrt(len(off)) / size),
        "work": float(work), "us": 1e6 * seconds / len(y), "failed": int((~good).sum()),
    }  # fmt: skip


def at_level(rows: list[dict[str, Any]], level: float, name: str) -> float:
    """`name` at an error level, between the two runs about it; NaN where there are none."""
    good = sorted((r["strong"], r[name]) for r in rows if 0 < r["strong"] < np.inf and not r["failed"])
    if not good or not good[0][0] <= level <= good[-1][0]:
        return np.nan
    e, w = np.log(np.array(good)).T
    return float(np.exp(np.interp(np.log(level), e, w)))


def table(name: str, rows: list[dict[str, Any]], level: float) -> str:
    """The Markdown table of a problem."""
    kinds = list(dict.fromkeys(r["what"] for r in rows))
    base = at_level([r for r in rows if r["what"] == kinds[0]], level, "work")
    base_us = at_level([r for r in rows if r["what"] == kinds[0]], level, "us")
    lines = [
        f"### {name}, strong error {level:g}", "",
        "| solver | drift evaluations a path | ratio | us a path | ratio | weak error there |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for kind in kinds:
        own = [r for r in rows if r["what"] == kind]
        work, us = at_level(own, level, "work"), at_level(own, level, "us")
        weak = weak_at(own, level)
        cells = ["-" if v != v else f"{v:.3g}" for v in (work, work / base, us, us / base_us)]
        lines.append(f"| {kind} | {' | '.join(cells)} | {weak} |")
    return "\n".join(lines) + "\n"


def bias(paths: int) -> str:
    """What redrawing after a rejection does to the law of W: geometric Brownian motion, at loose tolerances."""
    problem = ss.sdes.make("gbm")
    lines = [
        "### The law of W under rejections (gbm; exact: mean 0, variance 1, E log X = 0)", "",
        "| method | after a rejection | rejected | mean W | variance W | E log X |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    law = registry.get("i", safety=1.0).general()
    for method, tol in (("milstein_ito", 0.01), ("sriw1", 0.01)):
        for redraw, said in ((0.0, "condition on what was drawn"), (1.0, "draw anew")):
            opts = np.array([0.0, 1.0, tol, np.nan, np.nan, 1e5, 0.0, redraw])
            sol = run_paths(
                problem, methods.get(method), law, opts, np.full(1, tol), keys(3, np.arange(paths)), np.ones(1), 1, 1.0
            )
            w, stats, log = sol.W[:, 0, 0], sol.stats, np.log(np.abs(sol.y[:, 0, 0]))
            share = 100 * stats.nreject.sum() / (stats.naccept + stats.nreject).sum()
            lines.append(
                f"| {method} | {said} | {share:.0f} % | {w.mean():+.3f} | {w.var():.3f} | {log.mean():+.3f} |"
            )
    return "\n".join(lines) + f"\n\n{paths} paths: standard errors {1 / np.sqrt(paths):.3f} of the means.\n"


def runs_of(name: str, paths: int, own: bool) -> Iterator[tuple[str, str, Run]]:
    """All runs of a problem: (contestant, tolerance or steps, run)."""
    problem = ss.sdes.make(name)
    method, solvers, _ = PROBLEMS[name]
    for law in (None, *LAWS):
        what = f"{method}, " + ("equal steps" if law is None else law)
        yield from ((what, k, run) for k, run in our_runs(problem, method, law, paths))
    for law in (None, "pi34"):
        what = "stochastic_heun, " + ("equal steps" if law is None else law)
        yield from ((what, k, run) for k, run in our_runs(for_heun(problem), "stochastic_heun", law, paths))
    if own:
        return
    for solver in solvers:
        given = diffrax_runs(problem, solver, FOREIGN, min(paths, 300))
        yield from ((f"diffrax {solver}, PID", k, run) for k, run in given)
    for k, run in torchsde_runs(problem, (16, 64, 256), (1e-1, 1e-2, 1e-3), min(paths, 300)):
        yield f"torchsde srk, {'equal steps' if 'steps' in k else 'adaptive'}", k, run


def weak_at(rows: list[dict[str, Any]], level: float) -> str:
    """The weak error of the run nearest to an error level."""
    near = min(rows, key=lambda r: abs(np.log(max(r["strong"], 1e-300) / level)))
    return f"{near['weak']:.1e} +- {near['weak_se']:.0e}"


def estimates(name: str, paths: int) -> tuple[list[str], list[dict[str, Any]]]:
    """Lines of the table of our two error estimates, those of a problem, and all runs."""
    problem, level, lines, kept = ss.sdes.make(name), PROBLEMS[name][2], [], []
    for method in ("sra1",) if PROBLEMS[name][0] == "sra1" else ("sosri", "sriw1"):
        equal = [row(f"{method}, equal steps", k, run) for k, run in our_runs(problem, method, None, paths)]
        base = at_level(equal, level, "work")
        cells, weak, kept = [], {}, kept + equal
        for law in LAWS:
            both = []
            for estimate in methods.ESTIMATES:
                found = our_runs(problem, method, law, paths, estimate)
                rows = [row(f"{method}, {law}, {estimate}", k, run) for k, run in found]
                ratio = at_level(rows, level, "work") / base
                both.append("-" if ratio != ratio else f"{ratio:.2f}")
                weak[law, estimate], kept = weak_at(rows, level), kept + rows
            cells.append(" / ".join(both))
        biases = [weak_at(equal, level), *(weak["pi34", estimate] for estimate in methods.ESTIMATES)]
        lines.append(f"| {name}, {level:g} | {method} | {base:.3g} | {' | '.join(cells)} | {' / '.join(biases)} |")
    return lines, kept


def print_estimates(names: list[str], paths: int) -> dict[str, list[dict[str, Any]]]:
    """Print the table of our two error estimates; all runs."""
    print(f"| problem, strong error | method | equal steps | {' | '.join(LAWS)} | weak error: equal / pi34, both |")
    print("|---" * (4 + len(LAWS)) + "|")
    kept = {}
    for name in names:
        lines, kept[name] = estimates(name, paths)
        print("\n".join(lines), flush=True)
    return kept


def main() -> None:
    """Run the problems and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=[*PROBLEMS, "bias"], default=[*PROBLEMS, "bias"])
    parser.add_argument("--paths", type=int, default=2000)
    parser.add_argument("--own", action="store_true", help="stepsmith alone")
    parser.add_argument("--estimates", action="store_true", help="our error estimates, instead of the peers")
    parser.add_argument("--json", type=Path, help="where all runs are written")
    given = parsed(parser)
    kept = print_estimates([n for n in given.only if n != "bias"], given.paths) if given.estimates else {}
    for name in () if given.estimates else given.only:
        if name == "bias":
            print(bias(20 * given.paths), flush=True)
            continue
        kept[name] = [row(what, k, run) for what, k, run in runs_of(name, given.paths, given.own)]
        print(table(name, kept[name], PROBLEMS[name][2]), flush=True)
    if given.json:
        given.json.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
