"""What online tuning costs and saves: regret of the bandits on sequences of solves.

    python benchmarks/online.py [--seeds 5] [--rounds 5000] [--solves 2000] [--picture docs/online.png]

Three sequences, each with the costs of all arms, so that the regret is known:

1. SOR, the setting of "Learning to Relax" (Khodak et al., ICLR 2024): (A + c I) x = b with the 5-point Laplacian A on
   10 x 10 points, c = -.15 + .6 Beta(.5, 1.5) (or Beta(2, 6)) and a normal b in each round; the arms are 20 relaxation
   parameters in 1 ... 1.95, the cost is the iterations to a relative residual of 1e-8, the context is c.
2. Van der Pol, family "vanderpol" (mu in .5 ... 8), Tsit5 at rtol 1e-6, atol 1e-9: the arms are laws and safety
   factors, the cost is the right-hand sides, the context log mu.
3. The same problems, where the arms are tolerances and safety factors, and an error above 1e-5 costs more
   (`stepsmith.online` says how).  The error is the largest over 32 times, relative to the largest state.

Bandits play on the tables through `stepsmith.online`; `tuner.solve` plays the same arms (a test says so).  Every seed
has instances of its own and a generator of its own.  Exits non-zero where, in sequence 2 with 12 arms, a seed of
Tsallis-INF costs more than 1.10 of the best fixed arm after the first 500 solves.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from figures.save import parsed

import stepsmith as ss
from stepsmith.controllers.online import ChebCB, EpsilonGreedy, TsallisINF

OMEGAS = np.linspace(1.0, 1.95, 20)
SHIFTS = {"c spread widely": (0.5, 1.5), "c spread narrowly": (2.0, 6.0)}
MANY = {
    "controller": ["i", "pi34", "universal_law", "dopri5_pi", "sundials_pid", "expgus"],
    "safety": [0.5, 0.6, 0.7, 0.8, 0.9, 0.95], "accept_err": [1.0],
}  # fmt: skip
FEW = {"controller": ["i", "pi34", "universal_law"], "safety": [0.6, 0.7, 0.8, 0.9], "accept_err": [1.0]}
TOLERANCES = {"rtol": [1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8], "safety": [0.7, 0.9]}
WANTED = 1e-5
FIRST = 500
MU = (np.log(0.5), np.log(8.0))


@dataclass
class Sequence:
    """Costs (T, K) of all arms, their errors likewise or None, the contexts (T,), and the contexts' range."""

    arms: list[str]
    costs: np.ndarray
    contexts: np.ndarray
    limits: tuple[float, float]
    errors: np.ndarray | None = None

    def told(self) -> np.ndarray:
        """The costs with what too large an error adds, as at the end of a sweep that has seen the largest cost."""
        if self.errors is None:
            return self.costs
        return np.minimum(self.costs * np.maximum(self.errors / WANTED, 1.0), 2.0 * self.costs.max() - self.costs.min())

    def only(self, names: list[str]) -> Sequence:
        """The sequence with some of its arms."""
        keep = [self.arms.index(name) for name in names]
        return Sequence(names, self.costs[:, keep], self.contexts, self.limits)


# ------------------------------------------------------------------------------------------------------- sequences


@numba.njit(cache=False)
def sor(c, b, omega, tolerance):
    """Iterations of SOR from zero until the residual's norm is at most `tolerance` times that of b, (k, k)."""
    k = b.shape[0]
    x, d = np.zeros((k + 2, k + 2)), 4.0 + c
    stop, iterations = tolerance**2 * (b * b).sum(), 0
    while True:
        left = 0.0
        for i in range(1, k + 1):
            for j in range(1, k + 1):
                r = b[i - 1, j - 1] - d * x[i, j] + x[i - 1, j] + x[i + 1, j] + x[i, j - 1] + x[i, j + 1]
                left += r * r
        if left <= stop:
            return iterations
        for i in range(1, k + 1):
            for j in range(1, k + 1):
                r = b[i - 1, j - 1] - d * x[i, j] + x[i - 1, j] + x[i + 1, j] + x[i, j - 1] + x[i, j + 1]
                x[i, j] += omega * r / d
        iterations += 1


def relaxation(seed: int, rounds: int, beta: tuple[float, float]) -> Sequence:
    """Sequence 1."""
    rng = np.random.default_rng([seed, 1])
    c = -0.15 + 0.6 * rng.beta(*beta, rounds)
    b = rng.standard_normal((rounds, 10, 10))
    costs = np.array([[sor(c[t], b[t], omega, 1e-8) for omega in OMEGAS] for t in range(rounds)], float)
    return Sequence([f"omega {w:.2f}" for w in OMEGAS], costs, c, (-0.15, 0.45))


def oscillators(seed: int, solves: int) -> list[ss.Problem]:
    batch = ss.problems.sample("vanderpol", n=solves, seed=1000 + seed)
    return [batch[i] for i in range(solves)]


def laws(seed: int, solves: int) -> Sequence:
    """Sequence 2, with all 36 arms."""
    problems, tuner = oscillators(seed, solves), ss.online(MANY)
    own = [tuner.settings(arm, problems[0], t_eval=[20.0]) for arm in tuner.arms]
    costs = np.array([[ss.solve(problem, **one).stats.nfev for one in own] for problem in problems], float)
    return Sequence(named(tuner), costs, np.log([p.p[0] for p in problems]), MU)


def tolerances(seed: int, solves: int) -> Sequence:
    """Sequence 3."""
    problems, times = oscillators(seed, solves), np.linspace(0.0, 20.0, 33)
    tuner = ss.online(TOLERANCES, feedback=None, wanted_error=WANTED)
    own = [tuner.settings(arm, problems[0], atol=1e-3 * arm["rtol"], t_eval=times) for arm in tuner.arms]
    costs, errors = np.empty((2, solves, len(own)))
    for t, problem in enumerate(problems):
        exact = reference(problem, times)
        for i, one in enumerate(own):
            sol = ss.solve(problem, **one)
            costs[t, i] = sol.stats.nfev
            errors[t, i] = np.abs(sol.y - exact).max() / np.abs(exact).max()
    return Sequence(named(tuner), costs, np.log([p.p[0] for p in problems]), MU, errors)


def reference(problem: ss.Problem, times: Any) -> np.ndarray:
    return ss.solve(problem, method="dop853", rtol=1e-12, atol=1e-14, t_eval=times).y


def named(tuner: Any) -> list[str]:
    return [row["arm"].replace("controller=", "").replace(", accept_err=1.0", "") for row in tuner.report()["arms"]]


# --------------------------------------------------------------------------------------------------------- playing


def bandits(arms: int, seed: int, limits: tuple[float, float]) -> dict[str, Any]:
    return {
        "Tsallis-INF": TsallisINF(arms, seed),
        "Tsallis-INF, importance": TsallisINF(arms, seed, estimator="importance"),
        "epsilon-greedy": EpsilonGreedy(arms, seed),
        "ChebCB": ChebCB(arms, seed, context_range=limits),
    }


def play(sequence: Sequence, bandit: Any) -> np.ndarray:
    """The arms (T,) that the bandit plays."""
    wanted = None if sequence.errors is None else WANTED
    tuner = ss.online(sequence.arms, feedback=None, bandit=bandit, wanted_error=wanted)
    index = {name: i for i, name in enumerate(sequence.arms)}
    for t, costs in enumerate(sequence.costs):
        i = index[tuner.ask(float(sequence.contexts[t]) if bandit.contextual else None)]
        tuner.tell(costs[i], None if sequence.errors is None else sequence.errors[t, i])
    return np.array([one[0] for one in tuner.history])


def played(sequences: list[Sequence]) -> dict[str, np.ndarray]:
    """By bandit: the arms that it plays, (seeds, T)."""
    found: dict[str, list[np.ndarray]] = {}
    for seed, one in enumerate(sequences):
        for name, bandit in bandits(len(one.arms), seed, one.limits).items():
            found.setdefault(name, []).append(play(one, bandit))
    return {name: np.array(arms) for name, arms in found.items()}


def paid(sequences: list[Sequence], arms: np.ndarray) -> np.ndarray:
    """What was paid, (seeds, T), penalties for errors included."""
    return np.array([one.told()[np.arange(len(mine)), mine] for one, mine in zip(sequences, arms, strict=True)])


def best_fixed(sequences: list[Sequence]) -> np.ndarray:
    """The costs of the arm that is cheapest over the whole sequence, (seeds, T)."""
    return np.array([one.told()[:, one.told().sum(axis=0).argmin()] for one in sequences])


def table(title: str, sequences: list[Sequence], rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Print the costs and regrets of the bandits; returns the cumulative regrets, (seeds, T), by bandit."""
    best, each = best_fixed(sequences), np.array([one.told().min(axis=1) for one in sequences])
    print(f"\n{title}: {len(sequences[0].arms)} arms, {best.shape[1]} rounds, {len(sequences)} seeds\n")
    print(f"| bandit | mean cost | regret a round | of the best fixed arm: first {FIRST} | next {FIRST} | "
          f"after {FIRST} | worst seed after {FIRST} |\n|---|---|---|---|---|---|---|")  # fmt: skip
    regrets = {}
    every = {name: paid(sequences, arms) for name, arms in rows.items()}
    even = np.array([one.told().mean(axis=1) for one in sequences])
    every |= {"even play": even, "the best arm of each instance": each, "best fixed arm": best}
    for name, cost in every.items():
        parts = (slice(0, FIRST), slice(FIRST, 2 * FIRST), slice(FIRST, None))
        ratios = [cost[:, part].mean(axis=1) / best[:, part].mean(axis=1) for part in parts]
        shown = " | ".join(f"{ratio.mean():.3f}" for ratio in ratios)
        print(f"| {name} | {cost.mean():.1f} | {(cost - best).mean():.2f} | {shown} | {ratios[-1].max():.3f} |")
        regrets[name] = np.cumsum(cost - best, axis=1)
    return regrets


def by_arm(sequences: list[Sequence], arms: np.ndarray, errors: np.ndarray | None = None) -> None:
    """Print each arm's mean cost, its regret where it is played for good, and its share of the plays."""
    told = np.array([one.told().mean(axis=0) for one in sequences])
    shares = np.array([np.bincount(mine, minlength=told.shape[1]) / len(mine) for mine in arms]).mean(axis=0)
    extra = "" if errors is None else " | geometric mean error |"
    print(f"\n| arm | mean cost | regret a round, played for good | share of Tsallis-INF's plays{extra or ' |'}")
    print("|---" * (4 + bool(extra)) + "|")
    for i in np.argsort(told.mean(axis=0)):
        regret = (told[:, i] - told.min(axis=1)).mean()
        row = f"| {sequences[0].arms[i]} | {told[:, i].mean():.1f} | {regret:.1f} | {100 * shares[i]:.1f} %"
        print(row + (" |" if errors is None else f" | {np.exp(np.log(errors[:, i]).mean()):.1e} |"))


def errors_of(arms: dict[str, list[Any]], n: int = 200) -> np.ndarray:
    """Errors (n, K) at the end of the span, relative to the size of the state, of the arms of sequence 2."""
    tuner, found = ss.online(arms), []
    for problem in oscillators(0, n):
        exact = reference(problem, [20.0])[-1]
        own = (ss.solve(problem, **tuner.settings(arm, problem, t_eval=[20.0])).y[-1] for arm in tuner.arms)
        found.append([np.abs(y - exact).max() / np.abs(exact).max() for y in own])
    return np.array(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5000, help="linear systems of sequence 1")
    parser.add_argument("--solves", type=int, default=2000, help="solves of sequences 2 and 3")
    parser.add_argument("--picture", help="file to draw")
    args = parsed(parser)
    if min(args.rounds, args.solves) < 2 * FIRST or args.seeds < 1:
        parser.error(f"--rounds and --solves must be at least {2 * FIRST}, --seeds at least 1")
    start, seeds = time.perf_counter(), range(args.seeds)

    regrets = {}
    for title, beta in SHIFTS.items():
        systems = [relaxation(seed, args.rounds, beta) for seed in seeds]
        rows = played(systems)
        regrets[title] = table(f"1. SOR, {title}", systems, rows)
    by_arm(systems, rows["Tsallis-INF"])

    many = [laws(seed, args.solves) for seed in seeds]
    few = [one.only(named(ss.online(FEW))) for one in many]
    table("2. laws and safety factors", many, played(many))
    rows = played(few)
    table("2. laws and safety factors", few, rows)
    by_arm(few, rows["Tsallis-INF"], errors_of(FEW))

    loose = [tolerances(seed, args.solves) for seed in seeds]
    wanted = played(loose)
    table(f"3. tolerances and safety factors, wanted error {WANTED:g}", loose, wanted)
    by_arm(loose, wanted["Tsallis-INF"])

    if args.picture:
        from online_picture import draw

        panels = {
            title: ({name: paid(found, arms) for name, arms in these.items()}, best_fixed(found))
            for title, found, these in (
                ("van der Pol: 12 laws and safety factors", few, rows),
                ("van der Pol: 12 tolerances and safety factors", loose, wanted),
            )
        }
        draw(args.picture, regrets["c spread widely"], panels)
    print(f"\n{time.perf_counter() - start:.0f} s")
    late = slice(FIRST, None)
    ratio = paid(few, rows["Tsallis-INF"])[:, late].mean(axis=1) / best_fixed(few)[:, late].mean(axis=1)
    return 0 if ratio.max() <= 1.1 else 1


if __name__ == "__main__":
    sys.exit(main())
