"""The options that the solver in torch alone has, checked before anything is solved.

Options that every solver has are checked by `core.solver_options`; the wording of errors is that of `core.options`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ..core import options
from ..core import record as rec
from ..core.runner import check
from ..core.solver_options import checked_limit, checked_step, one_tolerance_each, unmet
from ..methods.tableaus import ExplicitTableau
from . import scheme
from .adjoint import CONTINUOUS
from .solution import no_stiffness
from .start import BOLD

Tensor = torch.Tensor
ADJOINTS = ("discrete", *CONTINUOUS, "none")
#: record slots that every explicit method fills here; CURV, every FSAL one
FILLS = frozenset({
    rec.ERR, rec.H, rec.H_FREE, rec.ORDER, rec.CURV, rec.YNORM, rec.ENORM, rec.NF, rec.T_LEFT, rec.SPAN,
    rec.TRUNCATED, rec.FINITE, rec.RTOL,
})  # fmt: skip


def times(t: Any, batch: int | None = None) -> np.ndarray:
    """t as (T,) float64; or (T, batch), the times of every sample, where `batch` is given."""
    if isinstance(t, Tensor) and t.is_meta:
        raise ValueError("t is on the device meta, which holds no values")
    try:
        raw = np.asarray(t.detach().cpu() if isinstance(t, Tensor) else t)
        if raw.dtype.kind not in "iuf":
            raise TypeError
        values = raw.astype(np.float64)
    except (TypeError, ValueError):
        raise options.refuse("t", "a 1-D tensor, array or list of times", t) from None
    if values.ndim == 2 and len(values) > 1 and batch != values.shape[1]:
        needs = f"T times for each of {batch} samples"
        if batch is None:
            needs = "a batch y0 (B, *features) and per_sample=True"
        raise ValueError(f"t of shape {values.shape}, times (T, B) of every sample, needs {needs}")
    if values.ndim not in (1, 2) or len(values) < 2:
        raise ValueError(f"t must be 1-D with at least two times, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("t must be finite")
    steps = np.diff(values, axis=0)
    if not ((steps > 0).all(0) | (steps < 0).all(0)).all():
        what = "holds a time twice" if (steps == 0).any() else "turns back"
        if what == "holds a time twice" and getattr(t, "dtype", None) in (
            torch.float32,
            np.float32,
            torch.bfloat16,
            torch.float16,
        ):
            what += f" in {t.dtype}: make it float64, or count time from a nearer origin"
        raise ValueError(f"t must be strictly increasing or strictly decreasing; it {what}")
    return values


def state(y0: Any, name: str = "y0") -> None:
    """ValueError where y0, called `name`, is no state."""
    if not isinstance(y0, Tensor):
        raise ValueError(f"{name} must be a tensor, got {type(y0).__name__}")
    if y0.is_meta:
        raise ValueError(f"{name} is on the device meta, which holds no values")
    if y0.layout is not torch.strided:
        raise ValueError(f"{name} is of layout {y0.layout}: pass {name}.to_dense()")
    if y0.is_complex():
        raise ValueError(
            f"{name} is {y0.dtype}, and error norms and gradients are those of real states: solve for "
            "torch.view_as_real(y0), with torch.view_as_complex in func"
        )
    if y0.dtype not in (torch.float32, torch.float64):
        half = y0.dtype in (torch.bfloat16, torch.float16)
        why = ", whose rounding would choose the steps: keep it float32, and evaluate func under torch.autocast"
        raise ValueError(f"{name} must be float32 or float64, got {y0.dtype}" + (why if half else ""))
    if y0.dim() == 0:
        raise ValueError(f"{name} must have a batch axis, (B, *features), or be one system, (D,); got a 0-d tensor")
    if y0.numel() == 0:
        raise ValueError(f"{name} is empty: shape {tuple(y0.shape)}")


def per_sample(value: Any, y0: Tensor | None = None) -> bool | None:
    """`per_sample` as True, False or None; given y0, what it comes to: None is per sample where y0 has a batch axis."""
    found = None if value is None else options.flag("per_sample", value)
    if y0 is None:
        return found
    if found and y0.dim() == 1:
        raise ValueError(
            f"per_sample=True needs y0 of shape (B, *features), and y0 of shape {tuple(y0.shape)} is one system: "
            "pass y0[:, None] where its numbers are samples of one component each, else leave per_sample out"
        )
    return y0.dim() > 1 if found is None else found


@dataclass(frozen=True)
class SolverOptions:
    """The options of `odeint` beside func, y0, t, method, controller and per_sample, checked; `solver_options` makes
    it.

    rtol, atol, adjoint, first_step, max_steps, checkpoint_every, compact, even_steps   as `odeint` takes them.
    start                  what the automatic first step is multiplied by.
    adjoint_params         a tuple, or None.
    back_rtol, back_atol   tolerances of a continuous adjoint's backward solve.
    checkpoint_bytes       budget of checkpoint="auto"; None without it.
    heuristics             whether E and S are wanted at all.
    graph                  which of them are wanted with gradient: "", "E", "S" or "ES".
    """

    rtol: float
    atol: float
    adjoint: str
    adjoint_params: tuple[Any, ...] | None
    back_rtol: float
    back_atol: float
    first_step: Any
    start: float
    max_steps: int
    checkpoint_every: int | None
    checkpoint_bytes: float | None
    heuristics: bool
    graph: str
    compact: bool
    even_steps: bool

    @property
    def repeats(self) -> bool:
        """Whether the backward pass calls func again."""
        return self.adjoint in CONTINUOUS or self.checkpoint_every is not None or self.checkpoint_bytes is not None

    def scaled(self, scale: float) -> SolverOptions:
        """These options with all tolerances multiplied by a controller's `tolerance_scale`; OptionError where they are
        too large then."""
        if scale == 1.0:
            return self
        said = f"tolerance_scale {scale:g} of the controller times "
        rtol, atol = one_tolerance_each(scale * self.rtol, scale * self.atol, said)
        back_rtol, back_atol = one_tolerance_each(
            scale * self.back_rtol, scale * self.back_atol, f"{said}adjoint_" if self.adjoint in CONTINUOUS else said
        )
        return replace(self, rtol=rtol, atol=atol, back_rtol=back_rtol, back_atol=back_atol)


def solver_options(
    tableau: ExplicitTableau,
    per_sample: bool | None,
    span: float | None,
    *,
    rtol: Any,
    atol: Any,
    adjoint: Any,
    adjoint_params: Any,
    adjoint_rtol: Any,
    adjoint_atol: Any,
    first_step: Any,
    max_steps: Any,
    checkpoint_every: Any,
    checkpoint: Any = None,
    checkpoint_mb: Any = None,
    heuristics: Any,
    compact: Any,
    even_steps: Any,
) -> SolverOptions:
    """Check the options of `odeint` and `NeuralODE`.  per_sample, span: None where it is not known yet.

    Raises ValueError (an OptionError, for types and ranges) for values that the options do not take, and for options
    that do not go together.
    """
    rtol, atol = one_tolerance_each(rtol, atol)
    graph = _graph(heuristics, tableau)
    adjoint_params = parameters(adjoint_params)
    backwards = {"adjoint_params": adjoint_params, "adjoint_rtol": adjoint_rtol, "adjoint_atol": adjoint_atol}
    belong(adjoint, backwards, {"checkpoint_every": checkpoint_every, "checkpoint": checkpoint})
    bold = isinstance(first_step, str) and first_step == "bold"  # else it may be an array
    back_rtol, back_atol = rtol, atol
    if adjoint in CONTINUOUS:
        back_rtol, back_atol = one_tolerance_each(
            rtol if adjoint_rtol is None else adjoint_rtol, atol if adjoint_atol is None else adjoint_atol, "adjoint_"
        )
    return SolverOptions(
        rtol,
        atol,
        adjoint,
        adjoint_params,
        back_rtol,
        back_atol,
        None if bold else _first_step(first_step, span),
        BOLD if bold else 1.0,
        checked_limit(max_steps),
        *scheme.checked(checkpoint_every, checkpoint, checkpoint_mb),
        bool(heuristics),
        graph,
        _compact(compact, per_sample),
        options.flag("even_steps", even_steps),
    )


def _first_step(value: Any, span: float | None) -> float | None:
    if isinstance(value, str):
        raise options.refuse("first_step", 'a positive number, "bold" or None', value)
    return checked_step(value, span, cut=True)


def belong(adjoint: Any, backwards: dict[str, Any], checkpoints: dict[str, Any]) -> None:
    """ValueError for an unknown adjoint, and for options (`backwards`: of the backward solve) that belong to
    another."""
    options.choice("adjoint", adjoint, ADJOINTS)
    if adjoint != "discrete":
        for option, value in checkpoints.items():
            if value is not None:
                raise ValueError(f'{option} belongs to adjoint="discrete", not to {adjoint!r}')
    if adjoint in CONTINUOUS:
        return
    for option, value in backwards.items():
        if value is not None:
            raise ValueError(f"{option} belongs to adjoint={' or '.join(CONTINUOUS)}, not to {adjoint!r}")


def parameters(params: Any) -> tuple[Any, ...] | None:
    """`adjoint_params` as a tuple, since a generator would serve one solve; OptionError for no collection of
    tensors."""
    if isinstance(params, (Tensor, str, np.ndarray)) or not (params is None or isinstance(params, Iterable)):
        raise options.refuse("adjoint_params", "a list or tuple of tensors", params)
    return None if params is None else tuple(params)


def heuristics(value: Any) -> None:
    """OptionError for what `heuristics` cannot be."""
    if not isinstance(value, bool) and not (isinstance(value, str) and value in ("E", "S", "values")):
        raise options.refuse("heuristics", 'True, False, "E", "S" or "values"', value)


def _graph(wanted: Any, tableau: ExplicitTableau) -> str:
    """Which of E and S carry gradient, as `heuristics` is `wanted`; ValueError for what it cannot be."""
    heuristics(wanted)
    if wanted == "S" and tableau.stiffness is None:
        raise no_stiffness(tableau.name)
    if wanted is True:
        return "E" if tableau.stiffness is None else "ES"
    return wanted if wanted in ("E", "S") else ""


def _compact(value: Any, per_sample: bool | None) -> bool:
    if options.flag("compact", value) and per_sample is False:
        raise ValueError("compact=True needs per_sample=True: a coupled batch has no samples to take out")
    return bool(value)


def controller(value: Any, resolve: Callable[[str], object] | None, tableau: ExplicitTableau, public: str) -> Any:
    """The controller object that `value` is or, by `resolve`, names.

    public: the name in `stepsmith.neural` of what resolves names, for the error.  Raises TypeError for what is no
    controller, and ValueError for a name without `resolve` and where the controller reads what the method does not
    report.
    """
    if isinstance(value, str):
        if resolve is None:
            raise ValueError(f"controller {value!r} is a name: use stepsmith.neural.{public}, or pass resolve=")
        value = resolve(value)
    check(value)
    fills = FILLS | {rec.HS} if tableau.stiffness is not None else FILLS
    fills = fills if tableau.fsal else fills - {rec.CURV}
    if missing := unmet(value, fills):
        raise ValueError(f"controller needs {missing}, which method {tableau.name!r} does not report here")
    return value
