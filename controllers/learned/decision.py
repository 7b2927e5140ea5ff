"""From an action to a step: a bounded residual on a classical law, and a learned acceptance threshold.

    log h'/h = clip(law's proposal + R a_0, law's limiter),    accept  E <= min(E_acc exp(T a_1), E_max)

with the actions a in [-1, 1]^n.  These two are the actions that ship (`actions`), R = `residual_scale` (1.5: a factor
within [.22, 4.5] of the law's) and T = `threshold_scale` (log 5: thresholds from a fifth of the law's to five times
it).  For implicit methods there are two more:

    a_2: the dead band, in which size and LU factors are kept, is wider at both ends by exp(H a_2), H = log 1.35
    a_3: the Newton rate above which the Jacobian is renewed is exp(J a_3) times the law's, J = log 1000

a = 0 is the law, bit for bit, up to E_max = `ACCEPT_MAX`.  Safety, limiter, floors and what the law does after a
rejection hold for the sum as they do for the law; a law that accepts by factor (PETSc) takes a_1 as a change of log E
under the I law.  Beyond the law:

- no attempt whose scaled error exceeds `ACCEPT_MAX` (50) is accepted, whatever the action, the law and the weights are;
- a rejected attempt is repeated with at most `SHRINK` of its size unless a = 0;
- the law's rule for non-finite attempts always wins;
- an action that is not finite or leaves [-1, 1] by more than `SLACK` is answered with the law's own decision and
  FALLBACK = 1.

On a law that is not proposed from an error (N-body criteria, constant step) the residual acts on the size for the next
step, and acceptance is the law's own, which looks at no error: E_max does not apply.  Attempts accepted above the
tolerance are counted everywhere.

State: head | observation (n_obs at `obs_at`) | action (n_act at `act_at`).
Parameters: the law's | constants of the decision | the observation's normaliser.
The environment writes actions into the state between `features` and `apply`; a network does it in `learned`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from ...integrators.core.contract import N_HEAD, Lane, bind
from ...integrators.core.errors import OptionError, shown
from ...integrators.core.record import LU_SHIFT, NEWTON_RATE
from ..laws import nbody, registry
from ..laws.formula import FAR
from ..laws.law import Law
from .actions import ACTIONS, KNOBS, SETS, Action, chosen, standard, together
from .observation import HUGE, OBS_AT, Observation
from .residual import N_CONSTANTS, clear, linear_apply, size_apply

RESIDUAL_SCALE = ACTIONS["residual"].scale
THRESHOLD_SCALE = ACTIONS["threshold"].scale

#: squashing of a network's output: none (already an action), clip to [-1, 1], tanh
SQUASHES = ("none", "clip", "tanh")

_BASES = {"criterion": nbody.criterion_decide, "constant": nbody.constant_decide}


@functools.cache
def _apply(key: tuple, act_at: int, n_law: int, actions: tuple[Action, ...], squash: int) -> Callable[..., None]:
    names: dict[str, Any] = {"SQUASH": squash, "ACT": act_at, "DEC": n_law}
    turned = {action.knob: (i, action) for i, action in enumerate(actions)}
    for knob in KNOBS:
        i, action = turned.get(knob, (-1, None))
        names[knob.upper()] = i
        if action is not None:
            names[f"move_{knob}"] = action.move
    if key[0] != "linear":
        return bind(size_apply, {**names, "base_decide": _BASES[key[0]]})
    for knob in ("hold", "renewal"):
        if knob in turned:
            names[f"{knob.upper()}_SCALE"] = turned[knob][1].scale
    return bind(linear_apply, {**names, "SMOOTH": key[1], "NEWTON": key[2] or "renewal" in turned})


@functools.cache
def _clear(rows: int) -> Callable[..., None]:
    return bind(clear, {"CLEAR": rows})


@dataclass(frozen=True, eq=False)
class Decision:
    """Observation, actions and base law: all of a learned controller but its network, and what an environment steps
    with.

    observation        the features, or their names
    law                the base law, a `Law` or its name
    residual_scale     R in (0, 10] as above, the scale of the action on the size; None: the action's own
    threshold_scale    T in (0, log 50] as above, the scale of the action on the threshold; None: the action's own
    n_act              2, or None for it; 1 leaves acceptance to the law (always so on N-body criteria and the constant
                       step); 4 decides on hold and Jacobian too
    shift, scale, obs_clip    normaliser of the observation, (n_obs,) twice and a bound: (x - shift)*scale within
                       +-obs_clip; None: the identity
    actions            names of `actions.ACTIONS`, in place of n_act

    It is a controller itself: with no action written it decides as its law.  `features`, `apply`, `init` are plain
    functions to be bound.  Raises ValueError on scales that are not positive, a wrong n_act or a normaliser of the
    wrong shape.
    """

    observation: Observation
    law: Law
    residual_scale: float
    threshold_scale: float
    n_act: int
    shift: np.ndarray
    scale: np.ndarray
    obs_clip: float
    #: the actions as they were when the decision was made: registering another one under a name changes no decision
    actions: tuple[Action, ...]

    def __init__(
        self,
        observation: Observation | Sequence[str] = Observation(),  # noqa: B008 (immutable)
        law: Law | str = "i",
        residual_scale: float | None = None,
        threshold_scale: float | None = None,
        n_act: int | None = None,
        shift: Any = None,
        scale: Any = None,
        obs_clip: float = HUGE,
        actions: Sequence[str] | tuple[Action, ...] | None = None,
    ) -> None:
        put = functools.partial(object.__setattr__, self)
        put("observation", observation if isinstance(observation, Observation) else Observation(cast(Any, observation)))
        put("law", registry.get(law).specialised())
        put("actions", _actions(actions, n_act))
        put("n_act", len(self.actions))
        turned = {action.knob: action for action in self.actions}
        for name, knob, value in (
            ("residual_scale", "size", residual_scale),
            ("threshold_scale", "threshold", threshold_scale),
        ):
            action = turned.get(knob, ACTIONS[knob if knob in ACTIONS else "residual"])
            value = action.scale if value is None else value
            if not 0.0 < value <= action.most:
                raise ValueError(f"{name} must be in (0, {action.most:.4g}], got {shown(value)}")
            put(name, float(value))
        if self.n_act >= 2 and self.law.kind != "linear":
            raise ValueError(f"law {shown(self.law.name)} does not accept by an error: n_act must be 1")
        self._normalise(shift, scale, obs_clip)

    def _normalise(self, shift: Any, scale: Any, obs_clip: float) -> None:
        n = self.observation.n
        for name, value, default in (("shift", shift, 0.0), ("scale", scale, 1.0)):
            v = np.full(n, default) if value is None else np.array(value, dtype=np.float64)
            if v.shape != (n,) or not np.all(np.isfinite(v)):
                raise ValueError(
                    f"{name} of the normaliser must be {n} finite numbers, got {v.tolist() if v.size < 40 else v.shape}"
                )
            if name == "scale" and not np.all(v > 0.0):
                raise ValueError("scale of the normaliser must be positive")
            v.flags.writeable = False
            object.__setattr__(self, name, v)
        if not 0.0 < obs_clip <= HUGE:
            raise ValueError(f"obs_clip must be positive and at most {HUGE:g}, got {shown(obs_clip)}")
        object.__setattr__(self, "obs_clip", float(obs_clip))

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
        """float64 (n_params,): what the formulas read.

        The law's | residual scale, threshold scale, growth limit | shifts, scales, bound of the normaliser.
        """
        fmax = FAR
        if self.law.kind == "criterion":
            fmax = float(self.law.params[nbody.C_FMAX])
        constants = [self.residual_scale, self.threshold_scale, fmax]
        return np.concatenate([self.law.params, constants, self.shift, self.scale, [self.obs_clip]])

    @property
    def slots(self) -> frozenset[int]:
        """Record slots that features and law read."""
        algebra = frozenset({NEWTON_RATE, LU_SHIFT}) if self.algebraic else frozenset[int]()
        return self.observation.slots | self.law.slots | algebra

    @property
    def needs(self) -> frozenset[int]:
        """Record slots without which the law cannot decide; a feature whose slot is missing is 0."""
        return self.law.needs

    @property
    def functions(self) -> tuple[Callable, ...]:
        """Functions of a caller's own that are compiled in: what they name may change between two solves."""
        own = tuple(f.fn for f in self.observation.table if f.own)
        return own + tuple(action.move for action in self.actions if action.own)

    @property
    def algebraic(self) -> bool:
        """Whether an action turns the dead band or the renewal of the Jacobian.

        Only methods with Newton's iteration have these.
        """
        return any(action.knob in ("hold", "renewal") for action in self.actions)

    @property
    def key(self) -> tuple:
        """Structure: what to compile."""
        return (
            "decision",
            self.observation.key,
            self.law.key,
            # a number where it stands for the actions: saved states of environments hold the key
            self.n_act if standard(self.actions) else tuple(action.key for action in self.actions),
            self.plain,
        )

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
        return _apply(self.law.key, self.act_at, self.constants_at, self.actions, SQUASHES.index(squash))

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
        del now["n_act"]
        if "n_act" in changes or "actions" in changes:
            del now["actions"]
            before = {action.knob: action for action in self.actions}
            after = {action.knob: action for action in _actions(changes.get("actions"), changes.get("n_act"))}
            for knob, name in (("size", "residual_scale"), ("threshold", "threshold_scale")):
                if before.get(knob) != after.get(knob):
                    del now[name]  # the scale was that of another action
        return Decision(**{**now, **changes})

    def __setstate__(self, state: dict[str, Any]) -> None:
        # a pickle of an earlier version holds the number of actions alone
        self.__dict__.update({"actions": chosen(SETS[state["n_act"]]), **state})
        self.shift.flags.writeable = self.scale.flags.writeable = False  # which a pickle forgets

    def __repr__(self) -> str:
        names = ", ".join(action.name for action in self.actions)
        acts = f"n_act={self.n_act}" if standard(self.actions) else f"actions={names}"
        return (
            f"Decision({shown(self.law.name)}, features={', '.join(self.observation.features)}, {acts}, "
            f"residual_scale={self.residual_scale:g}, threshold_scale={self.threshold_scale:g})"
        )


def _actions(actions: Any, n_act: Any) -> tuple[Action, ...]:
    """The actions of a decision: given ones, by name or as they are, or the set that a number stands for."""
    if actions is None:
        n_act = 2 if n_act is None else n_act
        if isinstance(n_act, bool) or not isinstance(n_act, (int, float, np.number)) or n_act not in SETS:
            raise OptionError(
                "n_act must be 1 (residual), 2 (residual and acceptance threshold) or 4 (and dead band, Jacobian), "
                f"got {shown(n_act)}"
            )
        return chosen(SETS[int(n_act)])
    if n_act is not None:
        raise OptionError("n_act has no effect beside actions, whose number it is: give one of them")
    if isinstance(actions, tuple) and actions and all(isinstance(action, Action) for action in actions):
        return together(actions)
    return chosen(actions)
