"""What a Jacobian, an LU factorisation and a back-substitution cost, in right-hand sides: the weights of an implicit
method's work.

    work = nfev + jacobian njev + lu nlu + solve nsolve

The pieces of the method's own kernel are timed on given states, one lane after the other (as kernels with Newton's
iteration run them; those of Rosenbrock methods evaluate right-hand sides side by side, which makes them cheaper than
counted here); the least of several rounds counts. Radau's two factorisations, real and complex, count as two of their
mean. Where the Jacobian is by differences, its right- hand sides are in nfev already, and `jacobian` is what the rest
of it takes. The figures are those of the machine they were measured on, and scatter by some per cent: they are measured
once a machine (kept in the cache folder) at states at the spans' ends, so that tuning, training and comparison charge
the same, and written into what comes out.
"""

from __future__ import annotations

import functools
import hashlib
import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import methods
from ..checks import rhs_check
from ..compile.cache import cache_dir, load_module
from ..core.contract import N_OUT
from ..kernels import build, calls
from ..kernels.implicit.linear import Algebra
from ..kernels.layout import block_layout
from ..problems.families import Family
from ..problems.problem import Batch


@dataclass(frozen=True)
class Costs:
    """jacobian, lu, solve: in right-hand sides.  seconds: what one right-hand side took (NaN: not measured)."""

    jacobian: float = 0.0
    lu: float = 0.0
    solve: float = 0.0
    seconds: float = float("nan")

    def __post_init__(self) -> None:
        for name in ("jacobian", "lu", "solve"):
            value = getattr(self, name)
            if not 0.0 <= value < np.inf:
                raise ValueError(f"cost of {name} must be a finite number that is not negative, got {value!r}")

    def work(self, stats: Any) -> np.ndarray:
        """Weighted work (B,) of `EnsembleStats`, at least 1."""
        weighted = stats.nfev + self.jacobian * stats.njev + self.lu * stats.nlu + self.solve * stats.nsolve
        return np.maximum(np.asarray(weighted, dtype=np.float64), 1.0)

    def as_dict(self) -> dict[str, float]:
        """Plain data."""
        return asdict(self)


NONE = Costs()


def of_family(family: str, method: Any) -> Costs:
    """Costs on training instances of a family, at the ends of their spans; measured once, those of families that ship
    once a machine.
    """
    from .. import problems

    if not methods.get(method).implicit:
        return NONE
    return _of(problems.family(family), method, problems.ships(family) and methods.of_caller(method) is None)


@functools.cache
def _of(fam: Family, method: Any, kept: bool) -> Costs:
    batch = fam.split("train", 64, 0)
    path = cache_dir() / f"costs-{fam.name}-{method}-{_machine()}.json"
    if kept and path.exists():
        return Costs(**json.loads(path.read_text()))
    ends = fam.reference(batch)
    good = np.flatnonzero(ends.ok)
    if good.size == 0:
        raise ValueError(
            f"no reference of family {fam.name!r} passed its self-check: there are no states to measure costs at"
        )
    found = measure(replace(batch[good], y0=ends.y[good, -1], t0=batch.t1[good], validate=False), method)
    if kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found.as_dict()) + "\n")
    return found


def _machine() -> str:
    """Names what costs depend on: processor, compiler, and the text of the kernels' linear algebra."""
    import llvmlite.binding as llvm
    import numba

    implicit, problems = "kernels/implicit", "problems"
    names = (
        f"{implicit}/linear.py", f"{implicit}/sparse_linear.py", f"{implicit}/jacobian.py", f"{problems}/sparsity.py",
        f"{problems}/sparse_factors.py",
    )  # fmt: skip
    texts = [(Path(__file__).parents[1] / name).read_bytes() for name in names]
    return hashlib.sha256(
        b"".join([llvm.get_host_cpu_name().encode(), numba.__version__.encode(), *texts])
    ).hexdigest()[:12]


_SOURCE = """@_njit(nogil=True, cache=True, fastmath=_FASTMATH, error_model="numpy")
def run(A, what, count, shift):
    total = 0.0
    for k in range(count):
        for q in range(W):
            # a lane that the compiler cannot know: it would leave out what is done twice
            l = (q + k) % W
            if what == 0:
                {rhs}
            elif what == 1:
                total += jacobian(A, l)
            elif what == 2:
                total += 1.0 if factor(A, l, shift) else 0.0
            elif what == 3:
                # from the same vector every time: solving again and again would underflow
                for i in range(N):
                    A[K2 + i*W + l] = A[K0 + i*W + l]
            elif what == 4:
                for i in range(N):
                    A[K2 + i*W + l] = A[K0 + i*W + l]
                back(A, l, K2)
{pair}    return total
"""
_PAIR = """            elif what == 5:
                total += 1.0 if factor_complex(A, l, shift, shift) else 0.0
            elif what == 6:
                for i in range(N):
                    A[K2 + i*W + l] = A[K0 + i*W + l]
                    A[G + i*W + l] = A[K0 + i*W + l]
                back_complex(A, l, K2, G)
"""


def measure(source: Batch, method: str, rounds: int = 7, seconds: float = 2e-3) -> Costs:
    """Costs of `method` at the initial states of `source` (the first block of lanes is used); `NONE` for explicit
    methods.

    rounds: of which the least counts; seconds: length of each.  ValueError where the batch is empty or a Jacobian is
    not finite.
    """
    meth = methods.get(method)
    if not meth.implicit:
        return NONE
    if len(source) == 0:
        raise ValueError("costs are measured on at least one instance")
    rhs_check.check(source, meth)
    pair = meth.factor_pairs
    algebra = Algebra(source, pair)
    n, m, width = source.n, source.m, build.lanes_for(source.n)
    lay = block_layout(width, n, m, 3, 1, N_OUT, algebra.rows)
    body = (
        algebra.lines
        + algebra.source()
        + _SOURCE.format(pair=_PAIR if pair else "", rhs=calls.rhs("A[T + l]", "Y", "K1"))
    )
    text = (
        build.header(lay, n, m, 1) + calls.guards(algebra.objects, n, m) + build.substitute(body, lay, n, m, 1, False)
    )
    run = load_module(text, algebra.objects).run
    block = build.aligned(lay.size)
    rows = block.reshape(-1, width)

    def put(name: str, values: np.ndarray) -> None:
        at = lay.rows[name]
        rows[at : at + len(values)] = values

    pick = np.arange(width) % len(source)
    put("Y", source.y0[pick].T)
    put("P", source.p[pick].T)
    put("T", source.t0[pick][None])
    put("RTOL", np.full((1, width), 1e-6))
    put("ATOL", np.full((n, width), 1e-9))
    put("HS", np.full((1, width), 1e-6))
    run(block, 0, 1, 1.0)
    put("K0", rows[lay.rows["K1"] : lay.rows["K1"] + n].copy())
    evaluations = run(block, 1, 1, 1.0) / width
    # a matrix that is regular whatever J is
    shift = 1.0 + 2.0 * float(np.abs(block[lay.rows["X"] * width :][: lay.size - lay.rows["X"] * width]).max())

    # a block's factorisations come off, or what is timed is their giving up
    if not np.isfinite(shift) or run(block, 2, 1, shift) != width:
        raise ValueError(f"{source.name}: the Jacobian is not finite at a state at which costs are measured")

    def once(what: int) -> float:
        count, spent = 1, 0.0
        while spent < seconds / 2:
            start = time.perf_counter()
            run(block, what, count, shift)
            spent = time.perf_counter() - start
            count *= 2
        best = np.inf
        for _ in range(rounds):
            start = time.perf_counter()
            run(block, what, count, shift)
            best = min(best, time.perf_counter() - start)
        return best / (count * width)

    f, jac, lu = once(0), once(1), once(2)
    solve = max(once(4) - once(3), 0.0)
    if pair:
        # counted as two each: a real and a complex one
        lu = (lu + once(5)) / 2.0
        solve = (solve + max(once(6) - 2.0 * once(3), 0.0)) / 2.0
    return Costs(max(jac - evaluations * f, 0.0) / f, lu / f, solve / f, f)
