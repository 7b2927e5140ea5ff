"""What is left for a controller on the fields that training met: the best found of as many steps, with the reference in
hand.

    python benchmarks/neural_bound.py RUN [RUN ...] [--batch 16] [--tries 300] [--out FILE]

A solve with a warm start and even steps (pi34, tsit5) takes n steps in m attempts and ends with an error e.  Of
sequences of n steps the one with the least error e* is searched for at random, from equal and geometric ones on; with
the method's order p, n (e*/e)^(1/p) steps would then do for e, and a controller that knows the reference and all steps
beforehand takes some (n/m) (e*/e)^(1/p) of the law's work. An estimate: a longer search may find less (compare two
--tries), and p is what short solves only tend to.  Where e* is far below e the signs of errors happen to cancel, which
no controller can plan.  An instance is kept weights and a batch of test subjects.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from figures.save import parsed

from stepsmith.controllers.laws import registry
from stepsmith.integrators.core import record as rec
from stepsmith.integrators.core.contract import Lane
from stepsmith.integrators.methods.tableaus import get as get_tableau
from stepsmith.train.neural import fields
from stepsmith.train.run.progress import Progress
from stepsmith.train.run.provenance import provenance

METHOD, TOLERANCES = "tsit5", (1e-3, 1e-4, 1e-5, 1e-6)


class Sequence:
    """A controller of the contract for one solve: these sizes, all of them accepted."""

    params, n_state, needs, slots = np.zeros(1), 1, frozenset(), frozenset({rec.H})

    def __init__(self, sizes: np.ndarray) -> None:
        # a little more than is left at the end, so that the solver cuts it; what follows a last step is never taken
        left = itertools.chain(sizes[1:-1], itertools.repeat(sizes[-1] * (1 + 1e-9)))

        def decide(params, state, record, out):
            out[0], out[1], out[2], out[3] = one, lg(next(left) / record[rec.H]), zero, zero

        one, zero, lg = np.float64(1.0), np.float64(0.0), np.log
        self.phases = (Lane(decide),)


def error_of(instance: fields.Instance, sizes: np.ndarray, tol: float) -> float:
    """Error after these steps; inf where the solve fails or takes others."""
    sol = instance.solve(Sequence(sizes), METHOD, tol, float(sizes[0]))
    return instance.error(sol.y) if sol.success and sol.stats.naccept == len(sizes) else np.inf


def best_error(instance: fields.Instance, n: int, tol: float, tries: int, rng: np.random.Generator) -> float:
    """Least error of n steps found."""
    span = abs(float(instance.t[-1] - instance.t[0]))
    starts = [q * np.linspace(-0.5, 0.5, n) for q in np.linspace(-1.2, 1.2, 13)]
    errors = []
    for start in starts:
        tried = np.exp(start)
        errors.append(error_of(instance, tried * span / tried.sum(), tol))
    k = int(np.argmin(errors))
    best, at, width = errors[k], starts[k], 0.2
    for _ in range(tries):
        other = at + width * rng.standard_normal(n)
        tried = np.exp(other)
        found = error_of(instance, tried * span / tried.sum(), tol)
        if found < best:
            best, at, width = found, other, min(1.2 * width, 0.5)
        else:
            width = max(0.97 * width, 0.02)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--tries", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = parsed(parser)
    torch.set_num_threads(1)
    law, power = registry.get("pi34"), 1.0 / get_tableau(METHOD).order
    found = [i for run in args.runs for i in fields.instances(run, "test", args.batch)]
    rng, rows = np.random.default_rng(args.seed), []
    bar = Progress("sequences", len(found), "fields", True)
    for done, instance in enumerate(found):
        for tol in TOLERANCES:
            size = instance.warmed(law, METHOD, tol, even_steps=True)
            sol = instance.solve(law, METHOD, tol, size, even_steps=True)
            n, mine = sol.stats.naccept, instance.error(sol.y)
            wasted = n / (n + sol.stats.nreject)
            if n > 1:
                best = min(mine, best_error(instance, n, tol, args.tries, rng))
                row = {"instance": instance.name, "tolerance": tol, "steps": n, "error": mine, "best": best}
                rows.append({**row, "left": wasted * (best / mine) ** power})
        bar.update(done + 1)
    bar.close()
    print("| tolerance | solves of two steps or more | steps | left: geometric mean | least |\n|---|---|---|---|---|")
    for tol in TOLERANCES:
        mine = [r for r in rows if r["tolerance"] == tol]
        if mine:
            left = np.array([r["left"] for r in mine])
            steps = np.mean([r["steps"] for r in mine])
            print(f"| {tol:g} | {len(mine)} | {steps:.1f} | {np.exp(np.log(left).mean()):.3f} | {left.min():.3f} |")
    if args.out:
        args.out.write_text(
            json.dumps({"rows": rows, "batch": args.batch, "tries": args.tries, **provenance()}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
