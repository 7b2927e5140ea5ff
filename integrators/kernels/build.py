"""A kernel: the generated module for one right-hand side, method, controller structure and width."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from ..compile.cache import load_module
from ..core import activations, record
from ..core.binding import bind
from ..core.contract import N_OUT, Dense
from ..methods.explicit.tableau import ExplicitTableau
from . import blocks, calls, explicit, fuse
from .layout import BAD_START, IDLE, MAX_STEPS, NON_FINITE, RUNNING, SUCCESS, UNDERFLOW, Layout, block_layout
from .start import start_source


@dataclass(frozen=True)
class Kernel:
    """A loaded kernel module and the layout of its block array."""

    module: ModuleType
    layout: Layout
    width: int


@dataclass(frozen=True)
class Parts:
    """What a method contributes to a kernel: sources of `attempt`, `start`, `prepare_dense` and `dense`, of its own
    pieces `carry` and `marks` in `commit` ("" for none; see `pieces.commit`), the slope and extra rows it keeps, and
    the functions its sources name.

    implicit: it fills the counts of linear algebra.  together: (first, count) among the extra rows where the elements
    of a lane lie together, element k of lane l at `l*count + k`.  degree: of dense output as a polynomial of theta; 0:
    it is not said, and dense output is not kept.
    """

    attempt: str
    start: str
    dense: str
    carry: str
    slopes: int
    extra: int
    objects: dict[str, Any]
    implicit: bool = False
    together: tuple[tuple[int, int], ...] = ()
    marks: str = ""
    degree: int = 0


def explicit_parts(tableau: ExplicitTableau, rhs: Callable, n: int, slots: frozenset[int]) -> Parts:
    """Parts of an embedded explicit Runge-Kutta method."""
    return Parts(
        explicit.attempt_source(tableau, n, slots),
        start_source(tableau, n, "" if tableau.fsal else explicit.START_MARKS),
        explicit.dense_source(tableau),
        explicit.carry_source(tableau),
        explicit.slope_rows(tableau),
        0 if tableau.fsal else explicit.OWN_ROWS,
        {"rhs": rhs},
        marks=explicit.marks_source(tableau),
        degree=tableau.P.shape[1],
    )


def lanes_for(n: int) -> int:
    """Lanes a block: enough to hide latency, few enough that the rows stay in the first-level cache."""
    return 64 if n <= 4 else 32 if n <= 16 else 16


@functools.cache
def wide_machine() -> bool:
    """Whether this processor has 512-bit vectors."""
    import llvmlite.binding as llvm

    return bool(llvm.get_host_cpu_features().get("avx512f", False))


def aligned(size: int) -> np.ndarray:
    """Zeroed float64 array of `size` whose first element starts a cache line (vector loads do not straddle two)."""
    raw = np.zeros(size + 8)
    start = (-raw.ctypes.data // 8) % 8
    return raw[start : start + size]


def header(lay: Layout, n: int, m: int, n_state: int) -> str:
    """Imports and constants of a kernel module."""
    w = lay.width
    return (
        "import math\nfrom numba import njit as _njit\n"
        "from stepsmith.integrators.compile.inner import FASTMATH as _FASTMATH, piece as _piece\n"
        "from stepsmith.integrators.compile.lanes import frozen, view, wide_vectors\n"
        "from stepsmith.integrators.compile.lane_matrix import matrix\n"
        "from stepsmith.integrators.compile.band_matrix import band\n"
        "from stepsmith.integrators.compile.sparse_matrix import sparse\n"
        "from stepsmith.integrators.compile.noted import faulty, new_fault, noted\n"
        "from stepsmith.integrators.compile.vecmath import exp, fabs, log, maximum, minimum, sqrt, tanh, where\n"
        f"W = {w}\nN = {n}\nM = {m}\nTHRESHOLD = {max(1, w // 8)}\n"
        f"RUNNING = {RUNNING}\nSUCCESS = {SUCCESS}\nIDLE = {IDLE}\nMAX_STEPS = {MAX_STEPS}\nUNDERFLOW = {UNDERFLOW}\n"
        f"NON_FINITE = {NON_FINITE}\nBAD_START = {BAD_START}\n" + lay.constants() + "\n"
    )


Pairs = tuple[tuple[int, float], ...]


def formula(fn: Callable, n_state: int, params: Pairs = (), state: Pairs = ()) -> Callable:
    """A controller's function `fn(params, state, record, out)` for a kernel: traced where it is straight-line code,
    else by Numba.

    `params`, `state`: elements that are known when it is compiled (see `known`); they save instructions and change no
    result.
    """
    from ..compile.memory import Known
    from ..compile.trace import traceable
    from ..compile.vecmath import NAMESPACE

    plain = bind(fn, NAMESPACE, lambda helper: helper)
    if not traceable(plain, (None, n_state, record.N_RECORD, N_OUT)):
        return bind(fn, NAMESPACE)
    if params or state:
        inner = plain

        def plain(params_, state_, record_, out):
            inner(Known(params_, params), Known(state_, state), record_, out)

    plain.traced = True  # type: ignore[attr-defined]
    return plain


def known(controller: Any) -> tuple[Pairs, Pairs]:
    """Elements of a controller's parameters and state that its structure fixes: its `known`, where it has one."""
    return getattr(controller, "known", ((), ()))


def phase_list(
    phases: tuple, objects: dict[str, Any], n_state: int, fixed: tuple[Pairs, Pairs] = ((), ()), kept: int | None = None
) -> list:
    """Turn a controller's phases into what `decide_source` writes, naming the functions in `objects`.

    kept: rows of the state that outlive a decision (None: all); phases with a small network become one function (see
    `fuse`).
    """
    from ..compile.vecmath import NAMESPACE

    if fuse.small(phases):
        steps = tuple(formula(p.fn, n_state, *fixed) if hasattr(p, "fn") else p for p in phases)
        if all(isinstance(s, Dense) or getattr(s, "traced", False) for s in steps):
            objects["phase0"] = fuse.fused(steps, n_state if kept is None else kept, NAMESPACE)
            return [("lane", "phase0")]
    out = []
    for k, phase in enumerate(phases):
        if hasattr(phase, "fn"):
            objects[f"phase{k}"] = formula(phase.fn, n_state, *fixed)
            out.append(("lane", f"phase{k}"))
        else:
            objects.update(activations.functions(phase.activation, NAMESPACE))
            out.append(("dense", phase))
    return out


#: head of a function that is inlined, with its docstring
_INLINED = r'(?m)^@_inline\ndef \w+\([^)]*\):\n(?:    """[^"]*"""\n)?'


def substitute(source: str, lay: Layout, n: int, m: int, n_state: int, wide: bool) -> str:
    """Write the view sizes, which must be literals, into the source."""
    sizes = {"WIDTH": lay.width, "DIM": n, "NPAR": m, "NSTATE": n_state, "NREC": record.N_RECORD, "NANS": N_OUT}
    for name, value in sizes.items():
        source = re.sub(rf"\b{name}\b", str(value), source)
    # each piece is optimised on its own before it is inlined, so each one asks for wide vectors, below its docstring
    return re.sub(_INLINED, r"\g<0>    wide_vectors()\n", source) if wide else source


def build(
    parts: Parts, n: int, m: int, controller: Any, width: int, driver: Callable[[bool], str],
    rows: Mapping[str, int] | None = None, more: Mapping[str, Any] | None = None,
) -> Kernel:  # fmt: skip
    """Kernel of a method's parts and a controller's structure, `width` lanes a block, with one of `drivers`' loops.

    rows, more: rows of the block, with their counts, and functions that the loop needs beside.
    """
    wide = width > 1 and wide_machine()
    lay = block_layout(width, n, m, parts.slopes, controller.n_state, N_OUT, parts.extra)
    for name, count in (rows or {}).items():
        lay.add(name, count)
    from ..compile.vecmath import NAMESPACE

    objects: dict[str, Any] = {"init": bind(controller.init, NAMESPACE), **parts.objects, **(more or {})}
    phases = phase_list(
        controller.phases, objects, controller.n_state, known(controller), getattr(controller, "n_kept", None)
    )
    first = getattr(controller, "first", None)
    if first is not None:
        objects["first"] = bind(first, NAMESPACE)
    body = (
        parts.attempt + "\n" + parts.start + "\n" + parts.dense + "\n"
        + blocks.begin_source()
        + blocks.emit_source()
        + blocks.commit_source(n, parts.carry, parts.implicit, parts.marks)
        + blocks.refill_source(first is not None)
        + blocks.decide_source(phases, record.N_RECORD, controller.n_state, N_OUT)
        + blocks.settle_source()
        + driver(wide)
    )  # fmt: skip
    head = header(lay, n, m, controller.n_state) + calls.guards(parts.objects, n, m)
    source = head + substitute(body, lay, n, m, controller.n_state, wide)
    return Kernel(load_module(source, objects), lay, width)
