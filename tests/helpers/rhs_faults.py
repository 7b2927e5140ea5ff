"""Right-hand sides whose indices leave their arrays in mid-solve, for a process of their own: prints one line a solve.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np
from numba import njit

import stepsmith as ss

TABLE = np.array([1.0, 2.0, 3.0])


def reads(t, y, p, dy):
    """y[2] and further from t = .2 on."""
    k = int(10.0 * t)
    dy[0] = y[k]
    dy[1] = -y[1]


def writes(t, y, p, dy):
    """dy[1000000] from t = .5 on."""
    dy[0] = 1.0
    dy[1] = 1.0
    k = 1 if t < 0.5 else 1000000
    dy[k] = 1.0


def below(t, y, p, dy):
    """y[-3] and further from t = .2 on."""
    k = int(10.0 * t)
    dy[0] = y[-1 - k]
    dy[1] = -y[1]


def parameters(t, y, p, dy):
    """p has one value."""
    dy[0] = p[int(2.0 * t)]
    dy[1] = 0.0


def swallowed_by_max(t, y, p, dy):
    """Reads y[2] and further from t = .2 on; max(1, NaN) is 1."""
    dy[0] = max(1.0, 0.1 * y[int(10.0 * t)])
    dy[1] = -y[1]


def swallowed_by_a_branch(t, y, p, dy):
    """A comparison with NaN is false."""
    dy[0] = 1.0 if y[int(10.0 * t)] > 1e9 else 2.0
    dy[1] = -y[1]


def overwritten(t, y, p, dy):
    """Writes outside from t = .5 on, and the first element after that."""
    dy[1] = 1.0
    dy[1 if t < 0.5 else 1000000] = 1.0
    dy[0] = 1.0


@njit
def deep(values, k):
    return max(1.0, 0.1 * values[k])


def in_a_helper(t, y, p, dy):
    dy[0] = deep(p, int(2.0 * t))
    dy[1] = -y[1]


WIDE = 24


def decay(t, y, p, dy):
    for i in range(WIDE):
        dy[i] = -y[i]


def overwritten_jacobian(t, y, p, J):
    """Writes outside from t = .5 on, and the diagonal after that."""
    k = 0 if t < 0.5 else 5000
    J[k, k] = 1.0
    for i in range(WIDE):
        for j in range(WIDE):
            J[i, j] = -1.0 if i == j else 0.0


def table(t, y, p, dy):
    """A captured array of three."""
    dy[0] = TABLE[int(6.0 * t)]
    dy[1] = 0.0


def jacobian(t, y, p, J):
    """Outside from t = .5 on."""
    for i in range(2):
        for j in range(2):
            J[i, j] = 0.0
    k = 0 if t < 0.5 else 5000
    J[k, k] = -1.0


def linear(t, y, p, dy):
    dy[0] = -y[0] + t
    dy[1] = y[1] * y[0]


def show(name, method, solve):
    try:
        sol = solve()
        status, t = (int(np.ravel(sol.status)[0]), float(np.ravel(sol.t)[-1]))
        print(name, method, status, f"{t:.6f}", flush=True)
    except ValueError as error:
        print(name, method, "ValueError", str(error).splitlines()[0], flush=True)


def both(rhs, method="bs32", **options):
    """A Problem and a Batch of it, with how each is solved."""
    problem = ss.Problem(rhs, [1.0, 2.0], (0.0, 1.0), [1.0], jac=options.pop("jac", None))
    return {
        "one": lambda: ss.solve(problem, method, "pi34", max_steps=2000),
        "many": lambda: ss.solve_ensemble(problem.batch(), method, "pi34", max_steps=2000, **options),
    }


if __name__ == "__main__":
    if sys.argv[1:] == ["cuda"]:
        for rhs in (reads, writes, swallowed_by_max, overwritten):
            show(rhs.__name__, "bs32", both(rhs, device="cuda")["many"])
    else:
        warnings.simplefilter("ignore")  # the Jacobian is wrong, which is not the point
        show("reads", "bs32", both(reads)["one"])
        show("writes", "bs32", both(writes)["many"])
        show("below", "bs32", both(below)["many"])
        show("parameters", "bs32", both(parameters)["one"])
        for rhs in (swallowed_by_max, swallowed_by_a_branch, overwritten, in_a_helper):
            show(rhs.__name__, "bs32", both(rhs)["one"])
            show(rhs.__name__ + "_lanes", "bs32", both(rhs)["many"])
        patterns = {
            "dense": None,
            "band": (0, 0),
            "sparse": np.eye(WIDE) + np.eye(WIDE, k=WIDE // 2) + np.eye(WIDE)[[0] * WIDE],
        }
        for name, sparsity in patterns.items():
            wide = ss.Problem(decay, np.ones(WIDE), (0.0, 1.0), jac=overwritten_jacobian, sparsity=sparsity)
            show(
                f"overwritten_jacobian_{name}",
                "rodas5p",
                lambda wide=wide: ss.solve(wide, "rodas5p", "pi34", max_steps=2000),
            )
        show("table", "bs32", both(table)["many"])
        show("jacobian", "rodas5p", both(linear, "rodas5p", jac=jacobian)["one"])
    print("end")
