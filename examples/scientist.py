"""Thousands of similar problems: one orbit, an ensemble, a right-hand side of one's own, and whether a controller pays.

    python examples/scientist.py [--quick]
"""

import sys

import numpy as np

import stepsmith as ss


def oscillator(t, y, p, dy):  # written for one trajectory; compiled for one, for SIMD lanes and for CUDA
    dy[0] = y[1]
    dy[1] = -p[0] * y[0] - p[1] * y[0] * y[0] * y[0]


def main(quick: bool) -> None:
    sol = ss.solve(ss.problems.make("three_body", seed=3), method="tsit5", controller="tuned", rtol=1e-6, atol=1e-9)
    print(f"one orbit: {sol.stats.nfev} f-evaluations, {sol.stats.nreject} rejected steps, {sol.message}")

    orbits = ss.problems.sample("three_body", n=100 if quick else 1000, seed=7)
    many = ss.solve_ensemble(orbits, method="tsit5", controller="tuned", rtol=1e-6, atol=1e-9)
    print(f"{np.sum(many.success)} of {len(orbits)} orbits, {np.mean(many.stats.nfev):.0f} f-evaluations each")

    mine = ss.Problem(rhs=oscillator, y0=[1.0, 0.0], t_span=(0.0, 20.0), p=[1.0, 0.5])
    sol = ss.solve(mine, method="tsit5", controller="pi34", rtol=1e-8, atol=1e-10)
    print(f"my own problem: y(20) = {sol.y[-1]}, {sol.stats.naccept} steps")

    # which law is worth having for these orbits: work at equal error, held-out instances (no clock: f-evaluations only)
    report = ss.compare(
        "three_body", method="tsit5", n=20 if quick else 100, n_validation=20, wall=False, progress=False
    )
    best = sorted(report.rows, key=lambda row: row.work["nfev"].figure.ratio)[:5]
    print("work at equal error:", ", ".join(f"{row.name} {row.work['nfev'].figure.ratio:.2f}" for row in best))


if __name__ == "__main__":
    main("--quick" in sys.argv)
