"""The generated module of a solve as text, with comments above it: the loop that really runs, to be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import methods
from ..checks import rhs_check, second_order
from ..core.options import flag
from ..kernels import glossary
from ..kernels.build import Kernel
from .ensemble import ensemble_kernel
from .solve import check_controller, single_kernel, slots_of

_ABOVE = """# {title}
#
# One trajectory, or {width} of them side by side, lie in one flat float64 array A: quantity r of lane l at A[r*W + l],
# W = {width}.  The capital names below are offsets into it, already multiplied by W.  Functions with `_inline` go
# through Numba; those with `_traced` are run once on symbolic values and become straight-line instructions.  The loop,
# at the end: begin (size of the attempt), attempt (stages, error estimate, record R), decide (the controller's answer
# CO), commit (advance or repeat, next size, outputs).
#
# Rows:
{rows}
"""


def text(kernel: Kernel, title: str) -> str:
    """Source of a kernel's module, below a description of its rows."""
    source = Path(str(kernel.module.__file__))
    if source.is_file():
        body = source.read_text()
    else:  # no place on disk: it was compiled from memory
        import linecache

        body = "".join(linecache.getlines(str(kernel.module.__file__)))
    return _ABOVE.format(title=title, width=kernel.width, rows=glossary.comments(kernel.layout)) + body


def kernel_text(problem: Any, method: Any, controller: Any, lanes: bool = False) -> str:
    """The module that solves a Problem with a method and a controller object.  lanes: that of ensembles, many
    trajectories side by side.

    The module is written and imported, but nothing is compiled.  ValueError where method, controller and problem do not
    fit together.
    """
    meth = methods.get(method)
    check_controller(controller, meth, problem)
    rhs_check.check(problem, meth)
    second_order.check(problem, meth)
    if flag("lanes", lanes):
        kernel = ensemble_kernel(problem, meth, controller)
    else:
        kernel = single_kernel(problem, meth, controller, slots_of(controller))
    what = "lanes of an ensemble" if lanes else "a single solve"
    return text(kernel, f"{problem.name or 'user'}, {meth.name}, {controller.name}: {what}")
