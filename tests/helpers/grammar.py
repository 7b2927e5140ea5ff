"""Random right-hand sides from a grammar: arithmetic, elementary functions, helpers, closures, loops, globals.

`case(rng)` holds the source of `make(c0, c1, ...)`, a factory of a right-hand side that closes over numbers;
`build(case)` runs it, and `build(case, ours=False)` does so with the standard library's elementary functions in the
place of ours.  Slopes are tame on purpose (bounded feedback, damping): a fuzzer that only meets blow-up compares
nothing.
"""

from __future__ import annotations

import random
import types
from dataclasses import dataclass
from typing import Any

OURS = (
    "from stepsmith.integrators.compile.vecmath import "
    "atan, cos, exp, fabs, log, maximum, minimum, sin, sqrt, tanh, where\n"
)
STANDARD = """from math import atan, cos, exp, fabs, log, sin, sqrt, tanh

maximum = numba.njit(lambda a, b: a if a != a or a > b else b)
minimum = numba.njit(lambda a, b: a if a != a or a < b else b)
where = numba.njit(lambda c, a, b: a if c else b)
"""
HEADER = """import numba
{functions}

G = {g!r}
COUNT = {n}


@numba.njit
def helper(x, s):
    return {helper}

"""


@dataclass(frozen=True)
class Case:
    """A right-hand side with `n` components and `m` parameters; `captured` are the numbers that it closes over."""

    source: str
    n: int
    m: int
    captured: tuple[float, ...]


class _Writer:
    def __init__(self, rng: random.Random, n: int, m: int, k: int) -> None:
        self.rng, self.n, self.m, self.k = rng, n, m, k
        self.inside = False  # of the helper

    def number(self) -> str:
        return repr(round(self.rng.uniform(-2.0, 2.0), 3))

    def leaf(self) -> str:
        if self.inside:
            return self.rng.choice(["x", "s", "G", self.number()])
        choices = [f"y[{self.rng.randrange(self.n)}]"] * 4 + [self.number(), "t", "G"]
        choices += [f"p[{self.rng.randrange(self.m)}]"] * 2 if self.m else []
        choices += [f"c{self.rng.randrange(self.k)}"] * 2 if self.k else []
        return self.rng.choice(choices)

    def expression(self, depth: int) -> str:
        if depth == 0 or self.rng.random() < 0.15:
            return self.leaf()
        a, b = self.expression(depth - 1), self.expression(depth - 1)
        forms = [
            f"({a} + {b})", f"({a} - {b})", f"({a}*{b})", f"{a}/(1.0 + {b}*{b})", f"sin({a})", f"cos({a})",
            f"tanh({a})",
            f"exp(-{a}*{a})", f"sqrt(1.0 + {a}*{a})", f"log(1.0 + {a}*{a})", f"atan({a})", f"fabs({a})",
            f"minimum({a}, {b})",
            f"maximum({a}, {b})", f"where({a} > {b}, {a}, {b})", f"-{a}",
        ]  # fmt: skip
        if not self.inside:
            forms += [f"helper({a}, {b})"] * 2
        return self.rng.choice(forms)


def case(rng: random.Random) -> Case:
    """A random case."""
    n, m, k = rng.randint(1, 4), rng.randint(0, 2), rng.randint(0, 2)
    w = _Writer(rng, n, m, k)
    w.inside = True
    helper = w.expression(2)
    w.inside = False
    text = HEADER.format(functions=OURS, g=round(rng.uniform(-1.0, 1.0), 3), n=n, helper=helper)
    text += f"\ndef make({', '.join(f'c{i}' for i in range(k))}):\n    def rhs(t, y, p, dy):\n"
    looped = n > 1 and rng.random() < 0.4
    if looped:
        text += f"        total = 0.0\n        for i in range(COUNT):\n            total += y[i]*{w.number()}\n"
    for i in range(n):
        term = w.expression(3)
        bounded = rng.choice(["tanh({})", "2.0*sin({})", "{0}/sqrt(1.0 + {0}*{0})"]).format(term)
        extra = f" + {w.number()}*tanh(total)" if looped else ""
        damping = round(rng.choice([0.0, 0.5, 1.0, 1.0, 5.0, 50.0]) * rng.uniform(0.5, 1.5), 3)
        text += f"        dy[{i}] = {bounded}{extra} - {damping}*y[{i}]\n"
    if rng.random() < 0.2:  # a branch on the state
        text += f"        if y[0] > {w.number()}:\n            dy[0] = dy[0] - 0.1*y[0]\n"
    text += "\n    return rhs\n"
    return Case(text, n, m, tuple(round(rng.uniform(-1.5, 1.5), 3) for _ in range(k)))


def build(made: Case, ours: bool = True) -> Any:
    """The right-hand side of a case."""
    module = types.ModuleType("fuzzed")
    source = made.source if ours else made.source.replace(OURS, STANDARD)
    exec(compile(source, "<fuzzed>", "exec"), vars(module))
    return module.make(*made.captured)
