"""What `odeint` and `NeuralODE` take, checked before anything is solved; the wording is `integrators/options.py`'s."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from ..core import options
from ..core import record as rec
from ..methods.tableaus import ExplicitTableau
from .adjoint import CONTINUOUS

Tensor = torch.Tensor
ADJOINTS = ("discrete", *CONTINUOUS, "none")
#: record slots that every explicit method fills here; CURV, every FSAL one
FILLS = frozenset({
    rec.ERR, rec.H, rec.H_FREE, rec.ORDER, rec.CURV, rec.YNORM, rec.ENORM, rec.NF, rec.T_LEFT, rec.TRUNCATED, rec.FINITE, rec.RTOL,
})  # fmt: skip


def times(t: Any) -> np.ndarray:
    """t as (T,) float64."""
    if isinstance(t, Tensor) and t.requires_grad:
        raise ValueError("t requires a gradient, and output times are constants here: pass t.detach()")
    if isinstance(t, Tensor) and t.is_meta:
        raise ValueError("t is on the device meta, which holds no values")
    try:
        raw = np.asarray(t.cpu() if isinstance(t, Tensor) else t)
        if raw.dtype.kind not in "iuf":
            raise TypeError
        values = raw.astype(np.float64)
    except (TypeError, ValueError):
        raise options.refuse("t", "a 1-D tensor, array or list of times", t) from None
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"t must be 1-D with at least two times, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("t must be finite")
    steps = np.diff(values)
    if not ((steps > 0).all() or (steps < 0).all()):
        what = "holds a time twice" if (steps == 0).any() else "turns back"
        if what == "holds a time twice" and getattr(t, "dtype", None) in (torch.float32, np.float32, torch.bfloat16, torch.float16):
            what += f" in {t.dtype}: make it float64, or count time from a nearer origin"
        raise ValueError(f"t must be strictly increasing or strictly decreasing; it {what}")
    return values


def state(y0: Any) -> None:
    """ValueError where y0 is no state."""
    if not isinstance(y0, Tensor):
        raise ValueError(f"y0 must be a tensor, got {type(y0).__name__}")
    if y0.is_meta:
        raise ValueError("y0 is on the device meta, which holds no values")
    if y0.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"y0 must be float32 or float64, got {y0.dtype}")
    if y0.dim() == 0:
        raise ValueError("y0 must have a batch axis, (B, *features), or be one system, (D,); got a 0-d tensor")
    if y0.numel() == 0:
        raise ValueError(f"y0 is empty: shape {tuple(y0.shape)}")


def per_sample(value: Any, y0: Tensor | None = None) -> bool | None:
    """`per_sample` as True, False or None; given y0, what it comes to: None is per sample where y0 has a batch axis."""
    found = None if value is None else options.flag("per_sample", value)
    if y0 is None:
        return found
    if found and y0.dim() == 1:
        raise ValueError(
            f"per_sample=True needs y0 of shape (B, *features), and y0 of shape {tuple(y0.shape)} is one system: pass y0[:, None] where "
            "its numbers are samples of one component each, else leave per_sample out"
        )
    return y0.dim() > 1 if found is None else found


def tolerances(rtol: Any, atol: Any, prefix: str = "") -> tuple[float, float]:
    """rtol and atol as floats."""
    for name, value in ((f"{prefix}rtol", rtol), (f"{prefix}atol", atol)):
        if getattr(value, "ndim", 0) > 0 or isinstance(value, (list, tuple)):
            raise options.OptionError(
                f"{name} must be one number for all components, got {options.shown(value)}; where components need tolerances of their own, "
                "scale the state"
            )
    # an error as large as the solution is no solution; atol is in y's unit
    rtol = options.number(f"{prefix}rtol", rtol, 0.0, 1.0)
    atol = options.number(f"{prefix}atol", atol, 0.0)
    if rtol + atol == 0:
        raise options.OptionError(f"{prefix}rtol and {prefix}atol must not be both zero")
    return rtol, atol


def adjoint(name: Any, params: Any, back_rtol: Any, back_atol: Any, checkpoint_every: Any, rtol: float, atol: float) -> tuple[float, float]:
    """Tolerances of the backward solve; ValueError for options that belong to another adjoint."""
    options.choice("adjoint", name, ADJOINTS)
    if name not in CONTINUOUS:
        given = {"adjoint_params": params, "adjoint_rtol": back_rtol, "adjoint_atol": back_atol}
        for option, value in given.items():
            if value is not None:
                raise ValueError(f"{option} belongs to adjoint={' or '.join(CONTINUOUS)}, not to {name!r}")
        if checkpoint_every is not None and name == "none":
            raise ValueError("checkpoint_every belongs to adjoint=\"discrete\", not to 'none'")
        return rtol, atol
    if checkpoint_every is not None:
        raise ValueError(f'checkpoint_every belongs to adjoint="discrete", not to {name!r}')
    return tolerances(rtol if back_rtol is None else back_rtol, atol if back_atol is None else back_atol, "adjoint_")


def graph(heuristics: Any, tableau: ExplicitTableau) -> str:
    """Which of E and S carry gradient; ValueError for what `heuristics` cannot be."""
    if not isinstance(heuristics, bool) and not (isinstance(heuristics, str) and heuristics in ("E", "S", "values")):
        raise options.refuse("heuristics", 'True, False, "E", "S" or "values"', heuristics)
    if heuristics == "S" and tableau.stiffness is None:
        raise ValueError(f"method {tableau.name!r} has no stage-based stiffness estimate; use dopri5, tsit5 or dop853")
    if heuristics is True:
        return "E" if tableau.stiffness is None else "ES"
    return heuristics if heuristics in ("E", "S") else ""


def needs(controller: object, tableau: ExplicitTableau) -> None:
    """ValueError where the controller reads what the method does not report."""
    fills = FILLS | {rec.HS} if tableau.stiffness is not None else FILLS
    fills = fills if tableau.fsal else fills - {rec.CURV}
    missing = [rec.NAMES[i] for i in getattr(controller, "needs", ()) if i not in fills]
    if missing:
        raise ValueError(f"controller needs {', '.join(missing)}, which method {tableau.name!r} does not report here")


def first_step(value: Any, span: float | None = None) -> float | None:
    """`first_step` as a float or None; at most 100 spans, where the span is known.

    A size that another solve proposed (`stats.first_step`) may be longer than the span and is cut; one far beyond it is a slip.
    """
    size = options.positive("first_step", value, none=True)
    if size is not None and span is not None and size > 100.0 * span:
        raise options.OptionError(f"first_step must be at most 100 times the span of t, which is {span:g}, got {size:g}")
    return size


def compact(value: Any, steps_per_sample: bool | None) -> bool:
    """`compact` as a bool."""
    if options.flag("compact", value) and steps_per_sample is False:
        raise ValueError("compact=True needs per_sample=True: a coupled batch has no samples to take out")
    return bool(value)


def parameters(params: Iterable[Tensor] | None) -> None:
    """OptionError where `adjoint_params` is no collection of tensors."""
    if isinstance(params, (Tensor, str)) or not (params is None or isinstance(params, Iterable)):
        raise options.refuse("adjoint_params", "a list or tuple of tensors", params)
