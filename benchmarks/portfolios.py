"""Portfolios of methods against single methods, at equal error.

    python benchmarks/portfolios.py mixed       ensembles whose members differ in stiffness by a factor of a thousand
    python benchmarks/portfolios.py families    stiff families, single solves
    python benchmarks/portfolios.py orders      one portfolio of orders 3 to 9 at eleven tolerances

mixed, families: every side's tolerance is the loosest of a grid at which nine of ten validation instances have the
wanted error, and times are those of test instances at that tolerance, one thread.  Of single methods every one is
tried under a few published laws, and the fastest on validation instances is the row "best single".

orders: f-evaluations at equal error, every explicit method under the universal law; the portfolio's, under the rule
`race`, over those of the best method at that error, by interpolation of the geometric means in the logarithms.  The
last column names the fixed method whose worst such ratio is least, and that ratio.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from figures.save import parsed

import stepsmith as ss
from stepsmith.controllers.laws import registry
from stepsmith.integrators import problems
from stepsmith.integrators.methods.portfolio import is_portfolio
from stepsmith.train.evaluate.splits import Split, draw
from stepsmith.train.fit import clock
from stepsmith.train.fit.candidates import Candidate, sweep
from stepsmith.train.fit.portfolios import split_of

EXPLICIT, IMPLICIT = ("tsit5", "vern7"), ("rodas5p", "esdirk43", "radau5")
LAWS = {False: ("universal_law", "pi34"), True: ("rodas", "h211b", "radau5")}
PORTFOLIOS = ("tsit5+rodas5p", "vern7+rodas5p", "tsit5+esdirk43")
RULES = ("auto_switch", "hairer", "race")
FAMILIES = ("vdpol_stiff", "orego", "ignition", "hodgkin_huxley", "brusselator_1d", "gray_scott_1d", "friction", "chua")


def vdp(t, y, p):
    return [y[1], p[0] * (1.0 - y[0] * y[0]) * y[1] - y[0]]


def relaxed(t, y, p):
    """A slow oscillation and a component that follows it at the rate p[0]."""
    return [y[1], -y[0], -p[0] * (y[2] - y[0] * y[0])]


def rober(t, y, p):
    a, b, c = 0.04 * y[0], 3e7 * p[0] * y[1] * y[1], 1e4 * p[0] * y[1] * y[2]
    return [c - a, a - b - c, b]


def mixed() -> dict[str, Any]:
    """Families whose members differ in stiffness by 10^3."""
    of = {
        "van der Pol, mu 1 to 1000": (vdp, [2.0, 0.0], 50.0, [30.0], ("log", 1.0, 1000.0)),
        "a follower, rate 1 to 1000": (relaxed, [1.0, 0.0, 0.5], 30.0, [30.0], ("log", 1.0, 1000.0)),
        "Robertson, rates 1e-3 to 1": (rober, [1.0, 0.0, 0.0], 40.0, [0.03], ("log", 1e-3, 1.0)),
    }
    return {
        name: ss.family(ss.Problem(f, y0, (0.0, end), p, name=f"mixed {f.__name__}"), vary={"p[0]": how},
                        wanted_error=1e-4, stiff=True, quiet=True)
        for name, (f, y0, end, p, how) in of.items()
    }  # fmt: skip


class Sides:
    """Splits of a family under every method."""

    def __init__(self, family: Any, error: float, instances: int, seed: int = 0) -> None:
        self.family = problems.family(problems.named(family))
        self.error, self.instances, self.seed = error, instances, seed
        self.rtols = np.geomspace(1e-2, 1e-9, 22)
        self.kept: dict[tuple[str, str], Split] = {}

    def split(self, method: str, name: str = "validation") -> Split:
        key = (method, name)
        if key not in self.kept:
            if is_portfolio(method):
                self.kept[key] = split_of(method, lambda member: self.split(member, name))
            else:
                self.kept[key] = draw(self.family, method, name, self.instances, self.seed)
        return self.kept[key]

    def candidates(self) -> list[Candidate]:
        """Every single method and every portfolio that reaches the error on validation instances."""
        out = []
        for implicit, names in ((False, EXPLICIT), (True, IMPLICIT)):
            for method in names:
                for law in LAWS[implicit]:
                    made = registry.get(law).general()
                    out.append(sweep(self.split(method), law, "published", made, self.rtols, 100_000))
        for method in PORTFOLIOS:
            for rule in RULES:
                made = ss.portfolio(method, rule)
                out.append(sweep(self.split(method), rule, "portfolio", made, self.rtols, 100_000))
        return [c for c in out if c.at(self.error) is not None]


def rtol_of(c: Candidate, error: float) -> float:
    """The loosest tolerance at which nine of ten have the error."""
    point = c.at(error)
    assert point is not None  # `candidates` leaves others out
    return point.rtol


def lanes(sides: Sides, found: list[Candidate], name: str, rounds: int = 5) -> list[float]:
    """Seconds that an ensemble of the split takes in lanes, one thread: the least of some rounds, candidates taking
    turns.
    """
    asked = [(sides.split(c.method, name), c.controller, rtol_of(c, sides.error)) for c in found]
    for split, controller, rtol in asked:  # compiles
        split.seconds(controller, rtol, rows=[0])
    times = [[split.seconds(controller, rtol) for split, controller, rtol in asked] for _ in range(rounds)]
    return np.min(times, axis=0).tolist()


def table_mixed(args: argparse.Namespace) -> None:
    print("| family | all explicit | all implicit | best single | auto_switch | hairer | race | error of the fastest |")
    print("|" + "---|" * 8)
    for name, family in mixed().items():
        sides = Sides(family, 1e-4, args.n)
        found = sides.candidates()
        spent = dict(zip((id(c) for c in found), lanes(sides, found, "validation"), strict=True))

        def best(keep: Callable[[Candidate], bool], found=found, spent=spent) -> Candidate | None:
            able = [c for c in found if keep(c)]
            return min(able, key=lambda c: spent[id(c)]) if able else None

        chosen = {
            "explicit": best(lambda c: c.method in EXPLICIT), "implicit": best(lambda c: c.method in IMPLICIT),
            "single": best(lambda c: c.kind == "published"),
            **{rule: best(lambda c, rule=rule: c.kind == "portfolio" and c.name == rule) for rule in RULES},
        }  # fmt: skip
        able = [c for c in {id(c): c for c in chosen.values() if c is not None}.values()]
        took = dict(zip((id(c) for c in able), lanes(sides, able, "test", 15), strict=True))
        seconds = {k: np.inf if c is None else took[id(c)] for k, c in chosen.items()}
        base = seconds["single"]
        cells = [
            "-" if c is None else f"{seconds[k] / base:.2f} ({c.method}, {c.name})" for k, c in chosen.items()
        ]  # fmt: skip
        fastest = min((k for k in RULES if chosen[k] is not None), key=lambda k: seconds[k])
        c = chosen[fastest]
        run = sides.split(c.method, "test").sweep(c.controller, np.array([rtol_of(c, sides.error)]))
        print(f"| {name} | " + " | ".join(cells) + f" | {np.quantile(run.err, 0.9):.1e} |", flush=True)


def table_families(args: argparse.Namespace) -> None:
    print("| family | best single | its time, us | fastest portfolio | its time over that |\n|" + "---|" * 5)
    ratios = []
    for name in args.families or FAMILIES:
        family = problems.family(name)
        sides = Sides(family, args.error or family.wanted, args.n)
        found = sides.candidates()
        times = clock.seconds(
            {str(k): clock.ours(sides.split(c.method), c.controller, rtol_of(c, sides.error))
             for k, c in enumerate(found)}, limit=args.limit,
        )  # fmt: skip
        order = sorted(range(len(found)), key=lambda k: float(np.log(times[str(k)]).mean()))
        single = next((found[k] for k in order if found[k].kind == "published"), None)
        both = next((found[k] for k in order if found[k].kind == "portfolio"), None)
        if single is None or both is None:
            print(f"| {name} | {'-' if single is None else single.method} | - | - | not reached |", flush=True)
            continue
        test = {
            k: clock.ours(sides.split(c.method, "test"), c.controller, rtol_of(c, sides.error))
            for k, c in (("single", single), ("both", both))
        }
        clocked = clock.seconds(test, limit=args.limit)
        r = clock.ratio(clocked["both"], clocked["single"])
        ratios.append(r.ratio)
        us = 1e6 * float(np.exp(np.log(clocked["single"]).mean()))
        print(
            f"| {name} | {single.method}, {single.name} | {us:.0f} | {both.method}, {both.name} | "
            f"{r.ratio:.2f} [{r.low:.2f}, {r.high:.2f}] |", flush=True,
        )  # fmt: skip
    if ratios:
        print(f"| geometric mean | | | | {float(np.exp(np.log(ratios).mean())):.2f} |", flush=True)


ORDERS = ("bs32", "tsit5", "vern6", "vern7", "vern8", "vern9")
SMOOTH = (
    "lorenz", "lotka_volterra", "pleiades", "arenstorf", "henon_heiles", "double_pendulum", "brusselator",
    "fitzhugh_nagumo", "kuramoto", "species",
)  # fmt: skip


def table_orders(args: argparse.Namespace) -> None:
    errors = 10.0 ** -np.arange(2.0, 13.0)
    print("| family | " + " | ".join(f"1e-{k}" for k in range(2, 13)) + " | worst of the best fixed |")
    print("|" + "---|" * 13)
    for name in args.families or SMOOTH:
        family = problems.family(name)
        rtols = np.geomspace(1e-2, 1e-13, 23)

        def work(method: str, controller: Any, family=family, rtols=rtols) -> np.ndarray:
            split = draw(family, "tsit5", "test", args.n, 0)
            run = replace(split, method=method).sweep(controller, rtols)
            err, nfev = np.log(np.exp(np.log(np.maximum(run.err, 1e-300)).mean(0))), np.log(run.nfev).mean(0)
            order = np.argsort(err)
            inside = (errors >= np.exp(err.min())) & (errors <= np.exp(err.max()))
            return np.where(inside, np.exp(np.interp(np.log(errors), err[order], nfev[order])), np.nan)

        fixed = np.array([work(method, ss.controller("universal_law")) for method in ORDERS])
        mine = work("+".join(ORDERS), ss.portfolio("+".join(ORDERS), "race"))
        # an error that nobody reaches within the tolerances is left out; who alone does not reach one has lost there
        best = np.where(np.isnan(fixed).all(axis=0), np.nan, np.where(np.isnan(fixed), np.inf, fixed).min(axis=0))
        reached = np.isfinite(best)
        losses = [np.where(np.isnan(row[reached]), np.inf, row[reached] / best[reached]).max() for row in fixed]
        share = np.where(np.isnan(mine), np.inf, mine) / best
        cells = ["-" if not ok else "not reached" if np.isinf(x) else f"{x:.2f}"
                 for x, ok in zip(share, reached, strict=True)]
        least = int(np.argmin(losses))
        print(f"| {name} | " + " | ".join(cells) + f" | {ORDERS[least]} {losses[least]:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=("mixed", "families", "orders"))
    parser.add_argument("families", nargs="*")
    parser.add_argument("--n", type=int, default=48, help="validation and test instances")
    parser.add_argument("--error", type=float, default=None)
    parser.add_argument("--limit", type=float, default=30.0, help="seconds of the clock of one comparison")
    args = parsed(parser)
    start = time.perf_counter()
    {"mixed": table_mixed, "families": table_families, "orders": table_orders}[args.table](args)
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
