"""Right-hand sides that index an array outside of it, solved one after the other: a crash, or an answer, is a fault of
the package.
"""

from __future__ import annotations

import types

import numba
import numpy as np

from stepsmith.controllers.laws import registry
from stepsmith.integrators.engine.ensemble import solve_ensemble
from stepsmith.integrators.engine.solve import solve
from stepsmith.integrators.problems.problem import Problem

TAB = np.array([1, 0, 1])
IN_TUPLE = (np.array([1, 0, 1]),)
NESTED = (2.0, (np.array([1, 0, 1]), 1))
TABLES = types.ModuleType("tables")
TABLES.TAB = np.array([1, 0, 1])
TABLES.deeper = types.ModuleType("tables.deeper")
TABLES.deeper.LOW = np.array([1, 0, 1])


def in_tuple(t, y, p, dy):
    dy[0] = 1.0 * (IN_TUPLE[0][int(3.9 * t)] & 1)


def in_tuples(t, y, p, dy):
    dy[0] = 1.0 * (NESTED[1][0][int(3.9 * t)] & 1)


def in_module(t, y, p, dy):
    dy[0] = 1.0 * (TABLES.TAB[int(3.9 * t)] & 1)


def below_a_module(t, y, p, dy):
    dy[0] = 1.0 * (TABLES.deeper.LOW[int(3.9 * t)] & 1)


@numba.njit
def compiled(t, y, p, dy):
    dy[0] = 1.0 * (TAB[int(3.9 * t)] & 1)


def makes(t, y, p, dy):
    buf = np.zeros(2)
    buf[int(20.0 * t)] = 1.0
    dy[0] = 1.0 + 0.0 * buf[0]


def makes_alike(t, y, p, dy):
    buf = np.zeros_like(TAB)
    buf[int(20.0 * t)] = 1
    dy[0] = 1.0 + 0.0 * buf[0]


@numba.njit
def look(i):
    return TAB[i] & 1


@numba.njit
def look_in(table, i):
    return table[i] & 1


def calls_look(t, y, p, dy):
    dy[0] = 1.0 * look(int(3.9 * t))


def hands_over(t, y, p, dy):
    dy[0] = 1.0 * look_in(TAB, int(3.9 * t))


def closes_over(table):
    def closed(t, y, p, dy):
        dy[0] = 1.0 * (table[0][int(3.9 * t)] & 1)

    return closed


CASES = (
    in_tuple, in_tuples, in_module, below_a_module, compiled, makes, makes_alike, calls_look, hands_over,
    closes_over((np.array([1, 0, 1]),)),
)  # fmt: skip


if __name__ == "__main__":
    law = registry.get("pi34")
    for rhs in CASES:
        problem = Problem(rhs, [0.0], (0.0, 2.0))
        for host in (lambda g: solve(g, "bs32", law), lambda g: solve_ensemble(g.batch(), "bs32", law)):
            try:
                print(rhs.__name__, "status", np.ravel(host(problem).status)[0])
            except ValueError as error:
                print(rhs.__name__, "ValueError", str(error).splitlines()[0])
    print("end")
