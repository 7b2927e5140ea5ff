"""The learned controller: features, a small network, a bounded residual on a classical law.

    z_0 = obs,   z_{i+1} = act_i(W_i z_i + b_i),   a = squash(z_L),   decision.apply(a)

Phases `Lane(features), Dense, ..., Lane(apply)`: the compiled loop evaluates the layers over all lanes at once, and the
decision of `decision.Decision` does the rest, so that everything it promises (the law for a = 0, limits, fallback)
holds whatever the weights are. `squash` makes an action of the last layer: "clip" to [-1, 1] (what SB3 does to PPO's
mean), "tanh" (SAC's), or "argmax": the last layer holds action values and `table` the actions to choose from (DQN).

State: the decision's rows | the last observations, where the network sees several (`frames`) | hidden layers (and
action values).  Parameters: the decision's | weights, layer by layer, W
row-major and then b | table.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from ...integrators.core import activations, dense, options
from ...integrators.core.contract import N_HEAD, N_OUT, Dense, Lane
from ...integrators.core.errors import shown
from ...integrators.core.tolerance_scale import checked as checked_scale
from ..ways_in import WaysIn
from . import frames as stack
from .choice import choice
from .decision import Decision

SQUASHES = ("clip", "tanh", "argmax")


class Learned(WaysIn):
    """A controller with a network, for `solve`, ensembles and hosts (the contract of `docs/architecture.md`).

    decision      observation, actions and base law
    layers        sequence of (weight (n_out, n_in), bias (n_out,), activation), activation one of
                  `core.activations.ACTIVATIONS`, where "leaky_relu" may have a slope: "leaky_relu(0.01)"; the last one
                  is "linear" and has decision.n_act outputs, for "argmax" one a row of the table
    squash        "clip", "tanh" or "argmax"
    table         (n, n_act) actions in [-1, 1], for "argmax" only
    name, family  what it is called, and what it was trained on
    frames        how many observations the network sees, the last ones with the newest at the end (`frames`); the first
                  layer then has frames * n_obs inputs
    provenance    JSON-like mapping that goes into its file: seed, commit, versions, steps
    measured      JSON-like mapping that goes into its file: figures
    tolerance_scale
                  s, from 1e-4 to 1e4: where a person asks for rtol and atol, solvers work at s rtol and s atol

    Weights need not be finite: a network that answers NaN falls back to the law, and is counted.  Raises ValueError on
    shapes that do not fit, an unknown activation or squash, a table out of [-1, 1], and a scale out of range.
    """

    def __init__(
        self,
        decision: Decision,
        layers: Sequence[tuple[Any, Any, str]],
        squash: str = "clip",
        table: Any = None,
        name: str = "learned",
        family: str = "",
        provenance: Mapping[str, Any] | None = None,
        measured: Mapping[str, Any] | None = None,
        tolerance_scale: float = 1.0,
        frames: int = 1,
    ) -> None:
        if not isinstance(decision, Decision):
            raise ValueError(f"decision must be a Decision, got {type(decision).__name__}")
        if squash not in SQUASHES:
            raise ValueError(f"squash must be one of {', '.join(SQUASHES)}, got {shown(squash)}")
        if (table is None) != (squash != "argmax"):
            raise ValueError(
                "squash 'argmax' needs a table of actions" if table is None else f"squash {squash!r} takes no table"
            )
        self.decision, self.squash, self.name, self.family = decision, squash, str(name), str(family)
        self.provenance, self.measured = (
            MappingProxyType(dict(provenance or {})),
            MappingProxyType(dict(measured or {})),
        )
        self.table = None if table is None else _table(table, decision.n_act)
        n_out = decision.n_act if self.table is None else len(self.table)
        self.frames = options.count("frames", frames, 1, stack.MOST)
        shapes, flat = _check_layers(layers, self.frames * decision.n_obs, n_out)
        #: (n_in, n_out, activation) of each layer
        self.shapes: tuple[tuple[int, int, str], ...] = shapes
        self._head = decision.params
        self._tail = np.empty(0) if self.table is None else self.table.ravel()
        self._set(flat)
        #: by what solvers multiply the tolerances that they are asked for
        self.tolerance_scale: float = checked_scale(tolerance_scale)
        self._phases, self._n_state = self._layout()

    def __copy__(self) -> Learned:
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def __getstate__(self) -> dict[str, Any]:
        # phases hold functions made for this structure: they are made again
        state = {k: v for k, v in self.__dict__.items() if k not in ("_phases", "_n_state")}
        return {**state, "provenance": dict(self.provenance), "measured": dict(self.measured)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # a pickle of an earlier version has neither scale nor frames
        self.__dict__.update({"tolerance_scale": 1.0, "frames": 1, **state})
        self.provenance, self.measured = MappingProxyType(state["provenance"]), MappingProxyType(state["measured"])
        if self.table is not None:
            self.table.flags.writeable = False
        self._phases, self._n_state = self._layout()

    def _set(self, flat: np.ndarray) -> None:
        self._params = np.concatenate([self._head, flat, self._tail])
        self.n_weights = len(flat)

    def _layout(self) -> tuple[tuple[Lane | Dense, ...], int]:
        d = self.decision
        phases: list[Lane | Dense] = [Lane(d.features)]
        src, row, offset = d.obs_at, d.n_state, d.n_params
        if self.frames > 1:
            phases.append(Lane(stack.pushing(self.frames, d.n_obs, d.obs_at, row)))
            src, row = row, row + self.frames * d.n_obs
        for i, (n_in, n_out, activation) in enumerate(self.shapes):
            direct = i == len(self.shapes) - 1 and self.table is None
            dst = d.act_at if direct else row
            phases.append(Dense(src, dst, n_in, n_out, offset, activation))
            row += 0 if direct else n_out
            src, offset = dst, offset + n_out * (n_in + 1)
        if self.table is not None:
            phases.append(Lane(choice(src, len(self.table), offset, d.act_at, d.n_act)))
        phases.append(Lane(d.squashing("none" if self.table is not None else self.squash)))
        return tuple(phases), row

    @classmethod
    def random(
        cls,
        decision: Decision,
        hidden: Sequence[int] = (16,),
        rng: np.random.Generator | int | None = None,
        scale: float = 1.0,
        activation: str = "tanh",
        squash: str = "tanh",
        **rest: Any,
    ) -> Learned:
        """Weights normal with standard deviation scale/sqrt(n_in), biases 0; scale 0 is the law."""
        rng = np.random.default_rng(rng)
        sizes = [decision.n_obs, *hidden, decision.n_act]
        layers = [
            (scale * rng.standard_normal((b, a)) / np.sqrt(a), np.zeros(b), activation if i < len(hidden) else "linear")
            for i, (a, b) in enumerate(zip(sizes[:-1], sizes[1:], strict=True))
        ]
        return cls(decision, layers, squash, **rest)

    @property
    def params(self) -> np.ndarray:
        """float64: the decision's parameters | weights | table; a new array each time."""
        return self._params.copy()

    @property
    def weights(self) -> np.ndarray:
        """(n_weights,) float64, layer by layer, W row-major and then b; a copy."""
        lo = len(self._head)
        return self._params[lo : lo + self.n_weights].copy()

    @property
    def layers(self) -> tuple[tuple[np.ndarray, np.ndarray, str], ...]:
        """(weight, bias, activation) of each layer; copies."""
        flat, at, out = self.weights, 0, []
        for n_in, n_out, activation in self.shapes:
            mid, end = at + n_in * n_out, at + n_in * n_out + n_out
            out.append((flat[at:mid].reshape(n_out, n_in).copy(), flat[mid:end].copy(), activation))
            at = end
        return tuple(out)

    def with_weights(self, weights: Any) -> Learned:
        """This controller with other weights, (n_weights,); it shares the compiled code."""
        flat = np.asarray(weights, dtype=np.float64)
        if flat.shape != (self.n_weights,):
            raise ValueError(f"weights must have shape ({self.n_weights},), got {flat.shape}")
        other = copy.copy(self)
        other._set(flat)
        return other

    def replace(self, **changes: Any) -> Learned:
        """This controller with other arguments (name, family, provenance, measured, ...)."""
        now = {
            n: getattr(self, n)
            for n in (
                "decision", "layers", "squash", "table", "name", "family", "provenance", "measured", "tolerance_scale",
                "frames",
            )
        }  # fmt: skip
        unexpected = sorted(set(changes) - set(now))
        if unexpected:
            raise ValueError(f"a learned controller has no {', '.join(unexpected)}")
        return Learned(**{**now, **changes})

    def unscaled(self) -> Learned:
        """This controller with the tolerance scale 1: what is compared at equal error, and what training goes on from.
        """
        other = copy.copy(self)
        other.tolerance_scale = 1.0
        return other

    @property
    def trained_method(self) -> str | None:
        """The method that it was trained with, from its provenance; None where that does not say.

        With another one, solves warn.
        """
        method = self.provenance.get("method")
        return method if isinstance(method, str) and method else None

    @property
    def trained_methods(self) -> tuple[str, ...]:
        """The explicit methods that it was trained with where these are several; () else."""
        found = self.provenance.get("methods")
        if self.trained_method or not isinstance(found, (list, tuple)):
            return ()
        return tuple(str(name) for name in found)

    @property
    def functions(self) -> tuple[Callable, ...]:
        """Functions of a caller's own that are compiled in (see `Decision.functions`)."""
        return self.decision.functions

    @property
    def n_state(self) -> int:
        """State rows."""
        return self._n_state

    @property
    def known(self) -> tuple[tuple, tuple]:
        """Parameters that the law's structure fixes, as `Law.known`; the whole head may be read by features."""
        return (self.decision.law.known[0], ())

    @property
    def n_kept(self) -> int:
        """State rows that outlive a decision: the shared head, and all up to the last observations where there are
        several.
        """
        d = self.decision
        return N_HEAD if self.frames == 1 else d.n_state + self.frames * d.n_obs

    @property
    def phases(self) -> tuple[Lane | Dense, ...]:
        """Features, layers, decision."""
        return self._phases

    @property
    def key(self) -> tuple:
        """Structure: what to compile.

        Weights, coefficients and a normaliser's numbers are not part of it; whether there is a normaliser is.
        """
        seen = () if self.frames == 1 else (self.frames,)
        return ("learned", self.decision.key, self.shapes, self.squash, *seen)

    @property
    def slots(self) -> frozenset[int]:
        """Record slots that are read."""
        return self.decision.slots

    @property
    def needs(self) -> frozenset[int]:
        """Record slots without which the base law cannot decide."""
        return self.decision.needs

    @property
    def first(self) -> Callable[..., float] | None:
        """The base law's first step size, where it knows one."""
        return self.decision.first

    @property
    def init(self) -> Callable[..., None]:
        """`init(params, state)`."""
        return self.decision.init if self.frames == 1 else stack.emptying(self.n_kept)

    def action_numpy(self, obs: Any) -> np.ndarray:
        """Actions (..., n_act) for what the network sees, (..., frames * n_obs): NaN where its answer is not finite."""
        z = np.asarray(obs, dtype=np.float64)
        if z.shape[-1:] != (self.shapes[0][0],):
            raise ValueError(f"obs must have shape (..., {self.shapes[0][0]}), got {z.shape}")
        with np.errstate(all="ignore"):
            for weight, bias, activation in self.layers:
                z = dense.activate(z @ weight.T + bias, activation)
            if self.table is not None:
                return self.table[np.argmax(z, axis=-1)] + np.sum(z - z, axis=-1, keepdims=True)
            return (np.clip(z, -1.0, 1.0) if self.squash == "clip" else np.tanh(z)) + (z - z)

    def decide_numpy(self, state: np.ndarray, record: Any) -> np.ndarray:
        """One decision in NumPy; returns `out`, (N_OUT,) or (N_OUT, lanes).

        state: (n_state,) or (n_state, lanes), advanced in place.  record: (N_RECORD,) or (N_RECORD, lanes).
        """
        out = np.zeros((N_OUT, *state.shape[1:]))
        params = self._params
        with np.errstate(all="ignore"):
            for phase in self._phases:
                if isinstance(phase, Lane):
                    phase.fn(params, state, record, out)
                else:
                    weight, bias = dense.weights(phase, params)
                    z = weight @ state[phase.src : phase.src + phase.n_in] + bias.reshape(-1, *(1,) * (state.ndim - 1))
                    state[phase.dst : phase.dst + phase.n_out] = dense.activate(z, phase.activation)
        return out

    def __repr__(self) -> str:
        net = "-".join(str(n) for n in (self.shapes[0][0], *(s[1] for s in self.shapes)))
        scale = "" if self.tolerance_scale == 1.0 else f", tolerance_scale={self.tolerance_scale!r}"
        return f"Learned({shown(self.name)}, {net}, {self.squash}, {self.decision!r}{scale})"


def _table(table: Any, n_act: int) -> np.ndarray:
    t = np.array(table, dtype=np.float64)
    t = t[:, None] if t.ndim == 1 and n_act == 1 else t
    if t.ndim != 2 or t.shape[1] != n_act or len(t) < 2:
        raise ValueError(f"table must have shape (actions, {n_act}) with at least two actions, got {t.shape}")
    if not np.all(np.abs(t) <= 1.0):
        raise ValueError("table of actions must lie in [-1, 1]")
    t.flags.writeable = False
    return t


def _check_layers(
    layers: Sequence[tuple[Any, Any, str]], n_obs: int, n_out: int
) -> tuple[tuple[tuple[int, int, str], ...], np.ndarray]:
    if not layers:
        raise ValueError("a network needs at least one layer")
    shapes, flat, width = [], [], n_obs
    for i, (weight, bias, activation) in enumerate(layers):
        w, b = np.asarray(weight, dtype=np.float64), np.asarray(bias, dtype=np.float64)
        if w.ndim != 2 or w.shape[1] != width or w.shape[0] < 1:
            raise ValueError(f"layer {i}: weight must have shape (n_out, {width}), got {w.shape}")
        if b.shape != (w.shape[0],):
            raise ValueError(f"layer {i}: bias must have shape ({w.shape[0]},), got {b.shape}")
        try:
            shapes.append((width, int(w.shape[0]), activations.named(activation)))
        except ValueError as error:
            raise ValueError(f"layer {i}: {error}") from None
        flat += [w.ravel(), b]
        width = int(w.shape[0])
    if width != n_out:
        raise ValueError(f"the last layer must have {n_out} outputs, got {width}")
    if shapes[-1][2] != "linear":
        raise ValueError(f"the last layer must be linear (squash makes the action), got {shown(shapes[-1][2])}")
    return tuple(shapes), np.concatenate(flat)
