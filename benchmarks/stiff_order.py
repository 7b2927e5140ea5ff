"""Does the error of stiff solves follow the tolerance?  Slopes and least errors on the published problems, orders on
Prothero-Robinson.

    python benchmarks/stiff_order.py [--problems rober hires ...] [--methods radau5 ...] [--picture stiff_order.png]
      [--json]

Published instances, rtol 1e-3 ... 1e-11 in half decades, atol = rtol times the family's factor, each method under its
published law. Error: relative, in the 2-norm over the family's meaningful components, at the end of the span, against
its reference (Radau IIA of order 13).  A step controller that holds the error estimate, of order k = embedded order +
1, at the tolerance gives global errors ~ tol^(p/k), p being the order of the solution advanced.  The slope is the
least-squares one of log error against log tolerance over errors between 1e-2 and three times the least, or the
reference's own uncertainty where that is larger.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
from figures.save import parsed

import stepsmith as ss
from stepsmith.integrators import methods, problems
from stepsmith.train.evaluate.curves import tolerance_slope

PROBLEMS = ("rober", "hires", "orego", "vdpol_stiff", "pollu", "e5", "medical_akzo_20")
LAWS = {"rodas5p": "rodas", "radau5": "radau5", "kvaerno5": "radau5", "esdirk43": "radau5"}
TOLERANCES = 10.0 ** np.arange(-3.0, -11.01, -0.5)


def errors(name: str, method: str, law: str, tolerances: np.ndarray = TOLERANCES) -> tuple[np.ndarray, float]:
    """Relative error at the end of the published instance at every tolerance, inf where the solve fails; the
    reference's self error.
    """
    family = problems.family(name)
    problem = family.published()
    reference = family.reference(problem.batch())
    pick = slice(None) if family.components is None else list(family.components)
    end = reference.y[0, -1][pick]
    out = np.full(tolerances.size, np.inf)
    for k, rtol in enumerate(tolerances.tolist()):
        sol = ss.solve(problem, method, law, rtol=rtol, atol=rtol * family.atol_factor)
        if sol.success:
            out[k] = np.linalg.norm(sol.y[-1][pick] - end) / np.linalg.norm(end)
    return out, float(reference.self_error[0])


def slope(tolerances: np.ndarray, error: np.ndarray, own: float) -> float:
    """Slope of log error over log tolerance where the error is neither of order one nor round-off."""
    floor = max(3.0 * error.min(), own)
    good = (error < 1e-2) & (error > floor)
    return tolerance_slope(tolerances, np.where(good, error, np.inf)[None])


def ideal(method: str) -> float:
    """p/k."""
    made = methods.get(method)
    return made.order / (made.embedded_order + 1)


def picture(found: dict[str, dict[str, list[float]]], file: str) -> None:
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, len(found), figsize=(2.6 * len(found), 3.0), sharey=True, squeeze=False)
    for ax, (name, curves) in zip(axes[0], found.items(), strict=True):
        for method, error in curves.items():
            ax.loglog(TOLERANCES, error, "o-", ms=2.5, lw=0.8, label=method)
        ax.loglog(TOLERANCES, TOLERANCES, "k:", lw=0.6)
        ax.set_title(name, fontsize=8)
        ax.set_xlabel("rtol")
    axes[0, 0].set_ylabel("relative error at the end")
    axes[0, 0].legend(fontsize=6)
    fig.tight_layout()
    fig.savefig(file, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS))
    parser.add_argument("--methods", nargs="+", default=list(LAWS), choices=list(LAWS))
    parser.add_argument("--picture")
    parser.add_argument("--json", action="store_true", help="the errors themselves")
    args = parsed(parser)
    found: dict[str, dict[str, list[float]]] = {}
    if not args.json:
        print("slope of log error against log tolerance; least error\n")
        print("| problem | " + " | ".join(f"{m} (ideal {ideal(m):.2f})" for m in args.methods) + " |")
        print("|---" * (len(args.methods) + 1) + "|", flush=True)
    for name in args.problems:
        cells = []
        for method in args.methods:
            error, own = errors(name, method, LAWS[method])
            found.setdefault(name, {})[method] = error.tolist()
            cells.append(f"{slope(TOLERANCES, error, own):.2f}; {error.min():.1e}")
        if not args.json:
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    if args.json:
        print(json.dumps({"rtol": TOLERANCES.tolist(), "errors": found}))
    if args.picture:
        picture(found, args.picture)


if __name__ == "__main__":
    main()
