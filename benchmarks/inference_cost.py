"""What a decision costs: nanoseconds an evaluation of f and an attempt in the lanes of an ensemble, decisions inside.

    python benchmarks/inference_cost.py [FAMILY ...] [--rounds 15] [--rtol 1e-6]

Laws in kernels of their own, and residuals on PI34 with weights of 0: they take PI34's own steps, so that their times
differ by what they compute alone.  One thread; the contestants take turns, and the least of the rounds counts.  Prints
Markdown.
"""

from __future__ import annotations

import argparse

import numpy as np
from figures.save import parsed

from stepsmith.controllers.laws import registry
from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.network import Learned
from stepsmith.integrators import problems
from stepsmith.integrators.engine.ensemble import solve_ensemble

#: candidates of a closed form, cheap ones first
FEATURES = ("log_err", "log_left", "log_err_1", "log_hs", "log_ratio_1", "log_curv", "log_enorm", "streak")
COPIES = 40


def contestants() -> dict[str, object]:
    """Controllers by the name of their row; PI34 first."""
    law = registry.get("pi34").specialised()

    def residual(features: tuple[str, ...], n_act: int, hidden: tuple[int, ...] = ()) -> Learned:
        return Learned.random(Decision(features, law, n_act=n_act), hidden, 0, 0.0, "relu", "clip")

    return {
        "PI34": law,
        "rodas": registry.get("rodas").specialised(),
        "predictive": registry.get("predictive").specialised(),
        "linear, 2 features": residual(FEATURES[:2], 1),
        "linear, 2 features and their product": residual((*FEATURES[:2], "log_err*log_left"), 1),
        "linear, 4 features": residual(FEATURES[:4], 1),
        "linear, 8 features, threshold": residual(FEATURES, 2),
        "8 hidden units, 8 features, threshold": residual(FEATURES, 2, (8,)),
        "12 hidden units, 8 features, threshold": residual(FEATURES, 2, (12,)),
    }


def measured(family: str, rounds: int, rtol: float) -> dict[str, tuple[float, float]]:
    """(ns an evaluation, ns an attempt) by contestant."""
    fam = problems.family(family)
    batch = fam.split("validation", 64, 0)
    batch = batch[np.tile(np.arange(len(batch)), COPIES)]
    found = {name: (np.inf, np.inf) for name in contestants()}
    for r in range(rounds + 1):  # the first one compiles
        for name, controller in contestants().items():
            sol = solve_ensemble(
                batch, fam.method, controller, rtol, rtol * fam.atol_factor, max_steps=5_000, threads=1
            )
            s = sol.stats
            now = tuple(1e9 * s.wall_s / n.sum() for n in (s.nfev, s.naccept + s.nreject))
            if r:
                found[name] = min(found[name], now)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("families", nargs="*", default=["three_body", "arenstorf"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--rtol", type=float, default=1e-6)
    args = parsed(parser)
    for family in args.families:
        found = measured(family, args.rounds, args.rtol)
        base = found["PI34"][0]
        print(f"\n| {family}, rtol {args.rtol:g} | ns an evaluation | ns an attempt | over PI34 |\n|---|---|---|---|")
        for name, (evaluation, attempt) in found.items():
            print(f"| {name} | {evaluation:.1f} | {attempt:.0f} | {evaluation / base:.2f} |")


if __name__ == "__main__":
    main()
