"""The ensemble kernel for CUDA: one trajectory a thread, from the same source text as the CPU's kernels.

A thread's block is a private array with one lane (W = 1): begin, attempt, decide, commit, dense output and start are
the text of `blocks` and of the method, laws and learned controllers the functions of `contract.Lane`; only what they
are compiled with differs. Elementary functions are the device library's, bound in the place of `vecmath`'s, so a
decision equals the CPU's to rounding.

In Numba's simulator (NUMBA_ENABLE_CUDASIM=1) the same text runs as plain Python on NumPy numbers.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import math
import os
import re
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..compile.cache import cache_dir, load_module
from ..core import activations, record
from ..core.binding import bind
from ..core.contract import N_OUT
from . import blocks, calls
from .build import Kernel, Parts, substitute
from .drivers import ARGS
from .layout import BAD_START, IDLE, MAX_STEPS, NON_FINITE, RUNNING, SUCCESS, UNDERFLOW, Layout, block_layout

WHEEL = "nvidia-cuda-nvcc-cu12"
_PACKAGE = __name__.split(".")[0]


def find_toolkit() -> None:
    """Let Numba find libNVVM and libdevice in the wheel `nvidia-cuda-nvcc-cu12` where it is installed and CUDA_HOME is
    not set.

    Numba looks for a versioned file name, which the wheel does not have: CUDA_HOME becomes a folder of links.
    """
    if os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH"):
        return
    try:
        wheel = importlib.metadata.distribution(WHEEL)
    except importlib.metadata.PackageNotFoundError:
        return
    nvvm = Path(str(wheel.locate_file("nvidia/cuda_nvcc/nvvm")))
    library = nvvm / "lib64" / "libnvvm.so"
    if not library.exists():
        return
    home = cache_dir().parent / f"cuda-{wheel.version}"
    (home / "nvvm" / "lib64").mkdir(parents=True, exist_ok=True)
    for link, target in (("lib64/libnvvm.so.4", library), ("libdevice", nvvm / "libdevice")):
        place = home / "nvvm" / link
        if place.is_symlink() and place.readlink() == target:
            continue
        fresh = place.with_name(f"{place.name}.{os.getpid()}")
        fresh.symlink_to(target)
        os.replace(fresh, place)
    os.environ["CUDA_HOME"] = str(home)


find_toolkit()  # before Numba's first look

# modules without usable types
numba: Any = importlib.import_module("numba")
cuda: Any = importlib.import_module("numba.cuda")

SIMULATOR = bool(numba.config.ENABLE_CUDASIM)


def device(fn: Callable) -> Callable:
    """`fn` as a device function (in the simulator: itself)."""
    if SIMULATOR or not isinstance(fn, types.FunctionType):
        return fn
    return cuda.jit(device=True)(fn)


def where(c, a, b):
    """a where c else b; both are evaluated."""
    return a if c else b


def minimum(a, b):
    """Smaller of two; NaN if either is NaN."""
    return a if a <= b or a != a else b


def maximum(a, b):
    """Larger of two; NaN if either is NaN."""
    return a if a >= b or a != a else b


def fabs(x):
    """|x|."""
    return math.fabs(x)


def sqrt(x):
    """Square root."""
    return math.sqrt(x)


def exp(x):
    """e**x."""
    return math.exp(x)


def log(x):
    """Natural logarithm."""
    return math.log(x)


def pow_(x, a):
    """x**a for x >= 0."""
    return math.pow(x, a)


def tanh(x):
    """Hyperbolic tangent."""
    return math.tanh(x)


def atan(x):
    """Arc tangent."""
    return math.atan(x)


def sin(x):
    """Sine."""
    return math.sin(x)


def cos(x):
    """Cosine."""
    return math.cos(x)


def _namespace() -> dict[str, Callable]:
    from ..compile.vecmath import NAMESPACE

    if SIMULATOR:
        return dict(NAMESPACE)  # NumPy's functions: infinities and NaN instead of Python's exceptions
    own = (where, minimum, maximum, fabs, sqrt, exp, log, pow_, tanh, atan, sin, cos)
    names = {fn.__name__: device(fn) for fn in own}
    if set(names) != set(NAMESPACE):
        raise AssertionError(f"device functions and vecmath differ: {sorted(set(names) ^ set(NAMESPACE))}")
    return names


#: names that `bind` replaces when a formula is compiled for the device
NAMESPACE = _namespace()


def bind_rhs(fn: Callable) -> Callable:
    """A right-hand side for the device: what it calls of `vecmath`, by whatever name, becomes the device's function.

    Other globals of a user's function stay as they are; plain functions of this package are bound with it.
    """
    from ..compile import vecmath

    own = {id(f): name for name, f in vecmath.NAMESPACE.items()}
    found = {name: NAMESPACE[own[id(v)]] for name, v in fn.__globals__.items() if id(v) in own}
    if (fn.__module__ or "").split(".")[0] == _PACKAGE:
        found = {**NAMESPACE, **found}
    return bind(fn, found, device)


_VIEWS = (
    "from stepsmith.integrators.compile.lanes import frozen, view\n"
    "from stepsmith.integrators.compile.noted import faulty, new_fault, noted\n"
)  # fmt: skip
_SIMULATED = "from stepsmith.integrators.kernels.simulated import faulty, frozen, new_fault, noted, view\n"


def header(lay: Layout, n: int, m: int) -> str:
    """Imports and constants of a kernel module for the device."""
    statuses = {"RUNNING": RUNNING, "SUCCESS": SUCCESS, "IDLE": IDLE, "MAX_STEPS": MAX_STEPS, "UNDERFLOW": UNDERFLOW,
                "NON_FINITE": NON_FINITE, "BAD_START": BAD_START}  # fmt: skip
    return (
        "import math\nfrom numba import cuda, float64\n"
        + (_SIMULATED if SIMULATOR else _VIEWS)
        + f"W = 1\nN = {n}\nM = {m}\nSIZE = {lay.size}\n"
        + "".join(f"{name} = {value}\n" for name, value in statuses.items())
        + lay.constants()
        + "\n"
    )


def driver_source() -> str:
    """`run(params, ..., yend, stat)`: thread b integrates trajectory b; outputs that are not reached are NaN."""
    return f"""@cuda.jit(cache=True)
def run(params, {ARGS}, yend, stat):
    b = cuda.grid(1)
    if b < y0.shape[0]:
        A = cuda.local.array(SIZE, float64)
        for i in range(SIZE):
            A[i] = 0.0
        for q in range(tgrid.shape[1]):
            for i in range(N):
                yout[b, q, i] = math.nan
        load(A, 0, b, {ARGS})
        start_fresh(A, params)
        begin(A)
        while A[STATUS] == RUNNING:
            attempt(A)
            decide(A, params)
            commit(A, tgrid, yout)
            begin(A)
        store(A, 0, yend, stat)
"""


float64, void = numba.float64, numba.void
#: types of `run`'s arguments
SIGNATURE = void(
    float64[::1], float64[:, ::1], float64[:, ::1], float64[::1], float64[::1], float64[::1], float64[:, ::1],
    float64[::1],
    float64[:, ::1], float64[:, :, ::1], float64, float64[:, ::1], float64[:, ::1],
)  # fmt: skip
#: types of `attempt(A)` and of `decide(A, params)`
STEP = void(float64[::1])
DECISION = void(float64[::1], float64[::1])

HEAD = "from stepsmith.integrators.kernels.cuda import device as _inline, device as _traced\n"


def build(parts: Parts, n: int, m: int, controller: Any) -> Kernel:
    """Kernel of a method's parts and a controller's structure; its module's `run` is launched with one thread a
    trajectory.
    """
    lay = block_layout(1, n, m, parts.slopes, controller.n_state, N_OUT, parts.extra)
    objects: dict[str, Any] = {name: bind_rhs(obj) if callable(obj) else obj for name, obj in parts.objects.items()}
    objects.update(NAMESPACE)
    objects["init"] = bind(controller.init, NAMESPACE, device)
    first = getattr(controller, "first", None)
    if first is not None:
        objects["first"] = bind(first, NAMESPACE, device)
    phases: list[tuple[str, Any]] = []
    for k, phase in enumerate(controller.phases):
        if hasattr(phase, "fn"):
            objects[f"phase{k}"] = phase.bound(NAMESPACE, device)
        else:
            objects.update(activations.functions(phase.activation, NAMESPACE, device))
        phases.append(("lane", f"phase{k}") if hasattr(phase, "fn") else ("dense", phase))
    body = (
        parts.attempt + "\n" + parts.start + "\n" + parts.dense + "\n"
        + blocks.begin_source()
        + blocks.emit_source()
        + blocks.commit_source(n, parts.carry, marks=parts.marks)
        + blocks.refill_source(first is not None)
        + blocks.decide_source(phases, record.N_RECORD, controller.n_state, N_OUT)
        + driver_source()
    )  # fmt: skip
    # with one lane the view that a controller gets is a slice; the user's functions, which are given frozen views too,
    # get those of the CPU
    lines = substitute(body, lay, n, m, controller.n_state, wide=False).splitlines(True)
    slices = [x if "frozen(" in x else re.sub(r"\bview\(A, ([^,()]+), 1, (\d+)\)", r"A[\1:\1 + \2]", x) for x in lines]
    head = header(lay, n, m)
    if "accel" in parts.objects:
        module = "kernels.simulated" if SIMULATOR else "compile.positions"
        head += f"from stepsmith.integrators.{module} import positions\n"
    source = head + calls.guards(parts.objects, n, m, device=True) + "".join(slices)
    return Kernel(load_module(source, objects, HEAD), lay, 1)


def ptx(fn: Any, signature: Any, kernel: bool = False, cc: tuple[int, int] = (8, 0)) -> str:
    """PTX of a kernel module's function for compute capability `cc`: needs libNVVM, but neither a GPU nor a driver.

    `signature`: STEP, DECISION, or SIGNATURE (with kernel=True).
    """
    dispatcher: Any = importlib.import_module("numba.cuda.dispatcher")
    # Numba compiles the functions that `fn` calls for the current device, and asks the driver which one that is
    found = dispatcher.get_current_device
    dispatcher.get_current_device = lambda: types.SimpleNamespace(compute_capability=cc)
    try:
        text, _ = cuda.compile_ptx(fn.py_func, signature, device=not kernel, cc=cc)
    finally:
        dispatcher.get_current_device = found
    return text
