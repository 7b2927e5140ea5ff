"""From an action to a step: a bounded residual on a classical law, and a learned acceptance threshold.

    log h'/h = clip(law's proposal + R a_0, law's limiter),    accept  E <= min(E_acc exp(T a_1), E_max),    a in [-1, 1]^n

with R = `residual_scale` (1.5: a factor within [.22, 4.5] of the law's) and T = `threshold_scale` (log 5: thresholds from a fifth of
the law's to five times it).  For implicit methods two more:

    a_2: the dead band, in which size and LU factors are kept, is wider at both ends by a factor exp(H a_2), H = `HOLD_SCALE` (log 1.35)
    a_3: the Newton rate above which the Jacobian is renewed is exp(J a_3) times the law's, J = `REFRESH_SCALE` (log 1000)

a = 0 is the law, bit for bit, up to E_max = `ACCEPT_MAX`.  Safety, limiter, floors and what the law does after a rejection hold for the
sum as they do for the law; a law that accepts by factor (PETSc) takes a_1 as a change of log E under the I law.  Beyond the law:

- no attempt whose scaled error exceeds `ACCEPT_MAX` (50) is accepted, whatever the action, the law and the weights are;
- a rejected attempt is repeated with at most `SHRINK` of its size unless a = 0;
- the law's rule for non-finite attempts always wins;
- an action that is not finite or leaves [-1, 1] by more than `SLACK` is answered with the law's own decision and FALLBACK = 1.

On a law that is not proposed from an error (N-body criteria, constant step) the residual acts on the size for the next step, and
acceptance is the law's own, which looks at no error: E_max does not apply.  Attempts accepted above the tolerance are counted everywhere.

State: head | observation (n_obs at `obs_at`) | action (n_act at `act_at`).
Parameters: the law's | constants of the decision | the observation's normaliser.
The environment writes actions into the state between `features` and `apply`; a network does it in `learned`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from ..integrators.core.contract import ACCEPT, ACCEPT_MAX, FALLBACK, FLAGS, LOG_FACTOR, N_HEAD, S_NACC, Lane, bind
from ..integrators.core.errors import shown
from ..integrators.core.formulas import exp, fabs, log, maximum, minimum, tanh, where
from ..integrators.core.record import ERR, LU_SHIFT, NEWTON_RATE, ORDER
from . import nbody, registry
from .formula import (
    FAR,
    P_ACCEPT_ERR,
    P_ACCEPT_FACTOR,
    P_FMAX,
    P_FMAX_FIRST,
    P_FMIN,
    P_JAC_RATE,
    P_ORDER,
    head_update,
    keep_ratios,
    linear_accept,
    linear_flags,
    linear_limit,
    linear_propose,
    log_error,
    usable,
)
from .laws import Law
from .observation import HUGE, OBS_AT, Observation

#: an attempt rejected by a learned decision is repeated with at most this part of its size
SHRINK = 0.9
#: how far an action may leave [-1, 1] (rounding in float32) before it counts as invalid
SLACK = 1e-5
RESIDUAL_SCALE = 1.5
THRESHOLD_SCALE = math.log(5.0)
# as literals: controller files hold them, and a logarithm may differ in its last bit between machines
HOLD_SCALE = 0.3001045924503381  # log 1.35
REFRESH_SCALE = 6.907755278982137  # log 1000
LOG_SHRINK = math.log(SHRINK)
LIMIT = 1.0 + SLACK

#: widest learned range of thresholds that makes sense below it: one from 1/50 of the law's to fifty times it
THRESHOLD_MOST = 3.912023005428146  # log 50

#: numbers of actions there are
N_ACTS = (1, 2, 4)

#: squashing of a network's output: none (already an action), clip to [-1, 1], tanh
SQUASHES = ("none", "clip", "tanh")

#: constants behind the law's parameters, by offset
D_RESIDUAL = 0
D_THRESHOLD = 1
D_FMAX = 2  # log: growth limit of a law that is not linear
N_CONSTANTS = 3

# compile-time values, bound for each structure
SQUASH = 0
THRESHOLD = True
ALGEBRA = False
NEWTON = True
ACT = 0
DEC = 0
CLEAR = 0
base_decide = nbody.criterion_decide


def squashed(x):
    """Network output to action; NaN where it is not finite."""
    if SQUASH == 1:
        x = where(fabs(x) <= HUGE, minimum(maximum(x, -1.0), 1.0), x - x)
    elif SQUASH == 2:
        x = where(fabs(x) <= HUGE, tanh(x), x - x)
    return x


def valid(a):
    """True for a finite action within [-1, 1], but for the slack."""
    return fabs(a) <= LIMIT


def inside(a):
    """Action without the slack."""
    return minimum(maximum(a, -1.0), 1.0)


def linear_apply(params, state, record, out):
    """Decide with the action in the state on top of a linear law (signature of `contract.Lane.fn`)."""
    a0 = squashed(state[ACT])
    ok = valid(a0)
    shift = params[DEC + D_RESIDUAL] * inside(a0)
    lf = linear_propose(params, state, record)
    law_accept = linear_accept(params, record, lf)
    below = record[ERR] <= ACCEPT_MAX
    # the law would have gone on from here: its answer need not be a shorter step
    refused = where(below, 0.0, law_accept) > 0.5
    law_accept = where(below, law_accept, 0.0)
    law_answer = linear_limit(params, state, record, lf, law_accept, 0.0)
    law_answer = where(refused, minimum(law_answer, LOG_SHRINK), law_answer)
    nacc = state[S_NACC]
    fmax = where(nacc >= 1.0, params[P_FMAX], params[P_FMAX_FIRST])
    own = minimum(maximum(lf + shift, params[P_FMIN]), fmax)
    accept = law_accept
    moved = shift != 0.0
    if THRESHOLD:
        a1 = squashed(state[ACT + 1])
        ok = ok & valid(a1)
        ease = params[DEC + D_THRESHOLD] * inside(a1)
        per_k = 1.0 / where(params[P_ORDER] > 0.0, params[P_ORDER], record[ORDER])
        # in logarithms: that of the error is at hand
        good = (log_error(params, record) <= log(params[P_ACCEPT_ERR]) + ease) & (lf + ease * per_k >= params[P_ACCEPT_FACTOR])
        accept = where(good & below & usable(record), 1.0, 0.0)
        moved = moved | (ease != 0.0)
    hold = 0.0
    limit = params[P_JAC_RATE]
    if ALGEBRA:
        a2 = squashed(state[ACT + 2])
        a3 = squashed(state[ACT + 3])
        ok = ok & valid(a2) & valid(a3)
        hold = HOLD_SCALE * inside(a2)
        moved = moved | (hold != 0.0) | (inside(a3) != 0.0)
        limit = limit * exp(REFRESH_SCALE * inside(a3))
    answer = linear_limit(params, state, record, own, accept, hold)
    answer = where((accept < 0.5) & usable(record), minimum(answer, LOG_SHRINK), answer)
    use = ok & moved
    accept = where(use, accept, law_accept)
    answer = where(use, answer, law_answer)
    flags = 0.0
    if NEWTON:
        flags = linear_flags(params, record, answer, where(use, limit, params[P_JAC_RATE]))
    head_update(params, state, record, accept)
    keep_ratios(params, state, record, accept, answer)
    out[ACCEPT] = accept
    out[LOG_FACTOR] = answer
    out[FLAGS] = flags
    out[FALLBACK] = where(ok, 0.0, 1.0)


def size_apply(params, state, record, out):
    """The same on top of a law that gives a size: the residual multiplies the next size of an accepted step."""
    a0 = squashed(state[ACT])
    ok = valid(a0)
    shift = params[DEC + D_RESIDUAL] * inside(a0)
    base_decide(params, state, record, out)
    lf = out[LOG_FACTOR]
    use = ok & (shift != 0.0) & (out[ACCEPT] > 0.5)
    out[LOG_FACTOR] = where(use, minimum(lf + shift, params[DEC + D_FMAX]), lf)
    out[FALLBACK] = where(ok, 0.0, 1.0)


def clear(params, state):
    """Empty head, observation and action: no lags, and the law's own decision."""
    for i in range(CLEAR):
        state[i] = 0.0


_BASES = {"criterion": nbody.criterion_decide, "constant": nbody.constant_decide}


@functools.cache
def _apply(key: tuple, act_at: int, n_law: int, n_act: int, squash: int) -> Callable[..., None]:
    names: dict[str, Any] = {"SQUASH": squash, "THRESHOLD": n_act >= 2, "ALGEBRA": n_act == 4, "ACT": act_at, "DEC": n_law}
    if key[0] == "linear":
        return bind(linear_apply, {**names, "SMOOTH": key[1], "NEWTON": key[2] or n_act == 4})
    return bind(size_apply, {**names, "base_decide": _BASES[key[0]]})


@functools.cache
def _clear(rows: int) -> Callable[..., None]:
    return bind(clear, {"CLEAR": rows})


@dataclass(frozen=True, eq=False)
class Decision:
    """Observation, action and base law: all of a learned controller but its network, and what an environment steps with.

    observation: the features.  law: the base law, a `Law` or its name.  residual_scale R in (0, 10] and threshold_scale T in
    (0, log 50] as above (natural logarithms).  n_act: 2; 1 to leave acceptance to the law (always 1 on N-body criteria and the
    constant step); 4 to decide on hold and Jacobian too.
    shift, scale (n_obs,) and obs_clip: normaliser of the observation, (x - shift)*scale within +-obs_clip; None: the identity.

    It is a controller itself: with no action written it decides as its law.  `features`, `apply`, `init` are plain functions to be
    bound.  Raises ValueError on scales that are not positive, a wrong n_act or a normaliser of the wrong shape.
    """

    observation: Observation
    law: Law
    residual_scale: float
    threshold_scale: float
    n_act: int
    shift: np.ndarray
    scale: np.ndarray
    obs_clip: float

    def __init__(
        self,
        observation: Observation | Sequence[str] = Observation(),  # noqa: B008 (immutable)
        law: Law | str = "i",
        residual_scale: float = RESIDUAL_SCALE,
        threshold_scale: float = THRESHOLD_SCALE,
        n_act: int = 2,
        shift: Any = None,
        scale: Any = None,
        obs_clip: float = HUGE,
    ) -> None:
        put = functools.partial(object.__setattr__, self)
        put("observation", observation if isinstance(observation, Observation) else Observation(cast(Any, observation)))
        put("law", registry.get(law).specialised())
        for name, value, most in (("residual_scale", residual_scale, 10.0), ("threshold_scale", threshold_scale, THRESHOLD_MOST)):
            if not 0.0 < value <= most:
                raise ValueError(f"{name} must be in (0, {most:.4g}], got {shown(value)}")
            put(name, float(value))
        if n_act not in N_ACTS:
            raise ValueError(
                f"n_act must be 1 (residual), 2 (residual and acceptance threshold) or 4 (and dead band, Jacobian), got {shown(n_act)}"
            )
        if n_act >= 2 and self.law.kind != "linear":
            raise ValueError(f"law {shown(self.law.name)} does not accept by an error: n_act must be 1")
        put("n_act", int(n_act))
        n = self.observation.n
        for name, value, default in (("shift", shift, 0.0), ("scale", scale, 1.0)):
            v = np.full(n, default) if value is None else np.array(value, dtype=np.float64)
            if v.shape != (n,) or not np.all(np.isfinite(v)):
                raise ValueError(f"{name} of the normaliser must be {n} finite numbers, got {v.tolist() if v.size < 40 else v.shape}")
            if name == "scale" and not np.all(v > 0.0):
                raise ValueError("scale of the normaliser must be positive")
            v.flags.writeable = False
            put(name, v)
        if not 0.0 < obs_clip <= HUGE:
            raise ValueError(f"obs_clip must be positive and at most {HUGE:g}, got {shown(obs_clip)}")
        put("obs_clip", float(obs_clip))

    @property
    def name(self) -> str:
        """Name shown in tables."""
        return f"residual on {self.law.name}"

    @property
    def n_obs(self) -> int:
        """Number of features."""
        return self.observation.n

    @property
    def obs_at(self) -> int:
        """First state row of the observation."""
        return OBS_AT

    @property
    def act_at(self) -> int:
        """First state row of the action."""
        return OBS_AT + self.n_obs

    @property
    def n_state(self) -> int:
        """State rows: head, observation, action."""
        return self.act_at + self.n_act

    @property
    def constants_at(self) -> int:
        """Where the decision's constants start among the parameters (the law's size)."""
        return len(self.law.params)

    @property
    def n_params(self) -> int:
        """Parameters before a network's weights."""
        return self.constants_at + N_CONSTANTS + 2 * self.n_obs + 1

    @property
    def params(self) -> np.ndarray:
        """float64 (n_params,): law | residual scale, threshold scale, growth limit | shifts, scales, bound of the normaliser."""
        fmax = FAR
        if self.law.kind == "criterion":
            fmax = float(self.law.params[nbody.C_FMAX])
        constants = [self.residual_scale, self.threshold_scale, fmax]
        return np.concatenate([self.law.params, constants, self.shift, self.scale, [self.obs_clip]])

    @property
    def slots(self) -> frozenset[int]:
        """Record slots that features and law read."""
        algebra = frozenset({NEWTON_RATE, LU_SHIFT}) if self.n_act == 4 else frozenset[int]()
        return self.observation.slots | self.law.slots | algebra

    @property
    def needs(self) -> frozenset[int]:
        """Record slots without which the law cannot decide; a feature whose slot is missing is 0."""
        return self.law.needs

    @property
    def functions(self) -> tuple[Callable, ...]:
        """Functions of a caller's own that are compiled in: what they name may change between two solves."""
        return tuple(f.fn for f in self.observation.table if f.own)

    @property
    def key(self) -> tuple:
        """Structure: what to compile."""
        return ("decision", self.observation.key, self.law.key, self.n_act, self.plain)

    @property
    def plain(self) -> bool:
        """Whether the observation's normaliser is the identity."""
        return self.obs_clip == HUGE and bool(np.all(self.shift == 0.0) and np.all(self.scale == 1.0))

    @property
    def features(self) -> Callable[..., None]:
        """`features(params, state, record, out)`: writes the observation rows."""
        return self.observation.function(self.constants_at + N_CONSTANTS, self.plain)

    @property
    def first(self) -> Callable[..., float] | None:
        """`first(params, state, record)`: the law's first step size, or None."""
        return self.law.first

    @property
    def apply(self) -> Callable[..., None]:
        """`apply(params, state, record, out)`: decides with the action rows, moves the head on."""
        return self.squashing("none")

    def squashing(self, squash: str) -> Callable[..., None]:
        """`apply` for action rows that hold a network's output: "none", "clip" or "tanh"."""
        if squash not in SQUASHES:
            raise ValueError(f"squash must be one of {', '.join(SQUASHES)}, got {shown(squash)}")
        return _apply(self.law.key, self.act_at, self.constants_at, self.n_act, SQUASHES.index(squash))

    @property
    def phases(self) -> tuple[Lane, ...]:
        """Features, then the decision."""
        return (Lane(self.features), Lane(self.apply))

    @property
    def init(self) -> Callable[..., None]:
        """`init(params, state)`: empty head, observation and action."""
        return _clear(N_HEAD + self.n_obs + self.n_act)

    def replace(self, **changes: Any) -> Decision:
        """This decision with other arguments."""
        now = {name: getattr(self, name) for name in self.__dataclass_fields__}
        if "observation" in changes:
            now["shift"] = now["scale"] = None
        return Decision(**{**now, **changes})

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.shift.flags.writeable = self.scale.flags.writeable = False  # which a pickle forgets

    def __repr__(self) -> str:
        return (
            f"Decision({shown(self.law.name)}, features={', '.join(self.observation.features)}, n_act={self.n_act}, "
            f"residual_scale={self.residual_scale:g}, threshold_scale={self.threshold_scale:g})"
        )
