"""What shapes the steps of `odeint` besides a controller: tolerances of components, a norm, limits of the step size,
times at which steps end, and an event at which the solve does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as tree

from ..core import options
from ..core.solver_options import CUT_FROM
from . import drop_in_options
from .events import EventFunction
from .forms import Form
from .hooks import NO_HOOKS, Hooks
from .pytree import Layout, in_order
from .stops import Stops, stop_times

Tensor = torch.Tensor


@dataclass(frozen=True)
class Shaping:
    """The options of `odeint` by these names, as they were given."""

    norm: Any = None
    min_step: Any = None
    max_step: Any = None
    step_t: Any = None
    jump_t: Any = None
    event_fn: Any = None

    def limits(self) -> tuple[float | None, float | None]:
        """The least and the largest size of an attempt, None for none."""
        low = options.number("min_step", 0.0 if self.min_step is None else self.min_step, 0.0)
        high = drop_in_options.largest(self.max_step, low)
        return low if low > 0.0 else None, high

    def checked(self) -> dict[str, Any]:
        """The limits and stops as keywords for `odeint`, checked, as is that the event function can be called."""
        self.check_event()
        (least, most), step_t = self.limits(), stop_times("step_t", self.step_t)
        jump_t = stop_times("jump_t", self.jump_t)
        Stops.of(step_t, jump_t)
        return {"min_step": least, "max_step": most, "step_t": step_t or None, "jump_t": jump_t or None}

    def check_event(self) -> None:
        """OptionError where the event function cannot be called."""
        if self.event_fn is not None and not callable(self.event_fn):
            raise options.refuse("event_fn", "a function of (t, y), or None", self.event_fn)

    def check_norm(self, per_sample: bool | None) -> None:
        """OptionError where the norm cannot be called, ValueError where steps are per sample."""
        if self.norm is not None and not callable(self.norm):
            raise options.refuse("norm", "a function of the state, or None", self.norm)
        if self.norm is not None and per_sample:
            raise ValueError(
                "norm is a function of the whole state, which needs one step size for all: per_sample=False"
            )

    def hooks(self, form: Form, each: tuple[Tensor, Tensor] | None) -> tuple[Hooks, Mapping[str, Any]]:
        """Hooks of the forward pass, and the settings of a backward solve that follow from them.

        each: tolerances of the components, None for two numbers.
        """
        self.check_norm(form.per_sample)
        least, high = self.limits()
        norm = form.norm(self.norm)
        if norm is None and each is None and least is None and high is None:
            return NO_HOOKS, {}
        back = Hooks((form.layout or Layout(form.y0)).twice(norm), least, high)
        return Hooks(norm, least, high, each=each), {"hooks": back}

    def stops(self) -> Stops | None:
        """Times at which steps end; None for none."""
        return Stops.of(stop_times("step_t", self.step_t), stop_times("jump_t", self.jump_t))

    def event(self, form: Form) -> EventFunction | None:
        """The event function over rows; None for none."""
        given, layout = self.event_fn, form.layout
        if given is None:
            return None
        self.check_event()
        if not form.per_sample:
            shape = form.y0.shape

            def of_all(t: Tensor, rows: Tensor) -> Any:
                return given(t[0], form.back(rows.reshape(shape)))

            return EventFunction(of_all, True)

        def of_each(t: Tensor, rows: Tensor) -> Any:
            y = rows.view(-1, *form.y0.shape[1:]) if layout is None else layout.state(rows)
            axes = form.y0.dim() if layout is None else layout.axes  # type: ignore[attr-defined]  # a RowLayout
            return given(t.view(-1, *(1,) * (axes - 1)), y)

        return EventFunction(of_each, False)


def first_sizes(form: Form, value: Any, times: np.ndarray) -> np.ndarray | None:
    """`first_step` with one size a sample as (B,) float64; None where it is one number or None.

    times: (T,), or (T, B), those of the samples.  Raises OptionError for sizes that are not positive, that do not fit
    the samples, or that are longer than `CUT_FROM` spans of their sample; the solver cuts shorter ones to the span.
    """
    if getattr(value, "ndim", 0) == 0 and not isinstance(value, (tuple, list)):
        return None
    try:
        found = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError):  # what is no array, or a tensor that holds no values
        found = np.zeros(1)
    if not form.per_sample or found.shape != (len(form.y0),) or not (np.isfinite(found) & (found > 0.0)).all():
        raise options.refuse("first_step", "a positive number, or with steps per sample (B,) of them", value)
    spans = np.broadcast_to(abs(times[-1] - times[0]), found.shape)
    if (found > CUT_FROM * spans).any():
        i = int((found / spans).argmax())
        raise options.OptionError(
            f"first_step must be at most {CUT_FROM:g} times the span of a sample's t, which is {spans[i]:g} for sample "
            f"{i}, got {found[i]:g}"
        )
    return found


def tolerances(form: Form, rtol: Any, atol: Any, scale: float) -> tuple[Any, Any, tuple[Tensor, Tensor] | None, Any]:
    """rtol and atol as two numbers, those of every component where one of them is more than a number (None elsewhere),
    and the least of each, as two numbers, for a backward solve.

    Such a one broadcasts to a sample's state (the whole state, with one step size), or is a collection in the form of
    the state with one for each part; with steps per sample, a tensor of y0's dimensions that broadcasts to y0 has each
    sample's own.  scale: what these are multiplied by.  OptionError for other forms.
    """
    if any(_by_sample(form, value) for value in (rtol, atol)):
        r, a = (_rows(form, name, value) for name, value in (("rtol", rtol), ("atol", atol)))
        low = float(r.min()), float(a.min())
        r, a = torch.broadcast_tensors(r, a)
        return *drop_in_options.checked_each(r, a, scale), low
    parts = [_parts(form, name, value) for name, value in (("rtol", rtol), ("atol", atol))]
    if not any(isinstance(x, (tuple, list)) or getattr(x, "ndim", 0) > 0 for x in parts):
        return rtol, atol, None, None
    layout = form.alone()
    r, a, each = drop_in_options.tolerances(parts[0], parts[1], layout, scale)
    least = float(layout.each("rtol", parts[0]).min()), float(layout.each("atol", parts[1]).min())
    return r, a, each, least


def _by_sample(form: Form, value: Any) -> bool:
    """Whether a tolerance has a number, or a row of them, for each sample."""
    y0 = form.y0
    return form.per_sample and form.layout is None and getattr(value, "ndim", 0) == y0.dim() and len(value) == len(y0)


def _rows(form: Form, name: str, value: Any) -> Tensor:
    """A tolerance as rows (B, width) or (B, 1)."""
    y0 = form.y0
    if not _by_sample(form, value):
        return form.alone().each(name, value)[None].expand(len(y0), -1)
    try:
        found = torch.as_tensor(value, dtype=y0.dtype, device=y0.device).detach()
        if found[0].numel() == 1:
            return found.reshape(len(y0), 1)
        return found.expand(y0.shape).reshape(len(y0), -1)
    except (RuntimeError, TypeError, ValueError):
        what = f"a number, or a tensor that broadcasts to y0, {tuple(y0.shape)}, or to a sample of it"
        raise options.refuse(name, what, value) from None


def _parts(form: Form, name: str, value: Any) -> Any:
    """A tolerance in the form of the state as the list of its parts; anything else as it is.  OptionError for a dict
    with other keys."""
    layout = form.layout
    if layout is None or not layout.parted or not isinstance(value, (tuple, list, dict)):
        return value
    try:
        return tree.tree_leaves(in_order(value, layout.model))
    except KeyError:
        raise options.refuse(name, "a number, or one for each part of y0, with its keys", value) from None
