"""From a trained Stable-Baselines3 model to a controller: what its deterministic policy computes, layer by layer.

PPO and A2C (`MlpPolicy`): the mean of the Gaussian, clipped to [-1, 1], or, of discrete actions, the most probable row
of a table.  SAC, TQC and CrossQ: tanh of the mean.  TD3 and DDPG: tanh of the actor's last layer.  DQN: the row of the
greatest value.  Observation statistics of a `VecNormalize` become the decision's normaliser; whether there were any is
asked until it is known (`sources`).  Which layers decide is said in `networks`, and `layers` reads them off by type;
whatever is not understood is refused by name, and the result is compared with `model.predict(deterministic=True)` on
raw observations before it is handed out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..controllers.learned.decision import Decision
from ..controllers.learned.network import Learned
from ..controllers.learned.observation import HUGE
from ..integrators.core import options
from ..integrators.core.contract import N_HEAD, S_STREAK
from ..integrators.core.record import FINITE, N_RECORD, TRUNCATED
from . import networks, sources, stacking
from .layers import Layers as Layers
from .normalisation import Statistics

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

#: greatest difference from SB3's float32 answer, in action units, that passes for rounding
TOLERANCE = 1e-4
_SAMPLES = 256


def from_sb3(
    model: BaseAlgorithm, decision: Decision, normaliser: Any = None, actions: Any = None, *,
    normalised: bool | None = None,
    env: Any = None, frames: int | None = None, **rest: Any,
) -> Learned:  # fmt: skip
    """The controller that `model`'s deterministic policy is.

    model         PPO, A2C, SAC, TD3, DDPG, DQN, TQC or CrossQ (the last two of sb3-contrib) with an MLP policy over the
                  decision's observation; activations tanh, ReLU, ELU, SiLU, GELU and LeakyReLU
    decision      observation, actions and base law that it was trained with
    normaliser    what its observations were normalised by: the VecNormalize, the path of the file that its `save`
                  wrote, or a mapping with mean, var (n_obs,), epsilon and clip (`normalisation.Statistics`).  None:
                  that of `env`, of the environment that the model still holds, or what `normalisation.keep` left on
                  the model
    actions       of DQN, and of PPO and A2C on discrete actions, (n,) or (n, n_act) table in [-1, 1]: the action that
                  each of their n discrete ones stands for
    normalised    False says that the policy saw observations as stepsmith's environment gives them; it is needed where
                  nothing else tells, as of a model out of `PPO.load`
    env           the environment that it was trained in, wrappers included, VecEnv or Gymnasium.  It is reset and
                  stepped, and the controller must answer its raw observations as the policy answers those that the
                  wrappers show it
    frames        how many observations the policy sees, the k of a VecFrameStack(venv, k); None: what the VecFrameStack
                  of `env`, or of the environment that the model still holds, says.  A VecNormalize stands beneath it
    rest          name, family, provenance, measured of the `Learned`

    Raises ValueError where it is not known whether observations were normalised, where the model was trained under a
    VecNormalize whose statistics are missing, and on anything that is not understood: dict or image observations, other
    extractors, layers, distributions or bounds, recurrent policies, SAC's state-dependent exploration (it clips its
    mean another way), shapes that do not fit the decision.
    """
    frames = stacking.frames_of(model, decision, frames, env)
    layers, squash = networks.of_model(model, decision, actions, frames)
    if normalised is not None:
        normalised = options.flag("normalised", normalised)
    found = sources.statistics(model, normaliser, normalised, env)
    learned = Learned(_with_normaliser(decision, found), layers, squash, actions, frames=frames, **rest)
    _compare(model, learned, decision, found)
    if env is not None:
        _compare_in(model, learned, decision, found, env)
    elif model.get_env() is not None:
        _check_decision(decision, sources.cores_of(model.get_env()))
    return learned


def _with_normaliser(decision: Decision, found: Statistics | None) -> Decision:
    if found is None:
        return decision
    if np.any(decision.shift != 0.0) or np.any(decision.scale != 1.0):
        raise ValueError("the decision has a normaliser already: VecNormalize on top of it cannot be exported")
    if found.mean.shape != (decision.n_obs,):
        raise ValueError(f"the normaliser must hold statistics of {decision.n_obs} features, got {len(found.mean)}")
    return decision.replace(shift=found.mean, scale=found.scale, obs_clip=min(found.clip, HUGE))


def _compare(model: Any, learned: Learned, decision: Decision, found: Statistics | None) -> None:
    """ValueError unless the controller answers *raw* observations as `model.predict` does what SB3 makes of them.

    Half of them come from the whole range of the features, half from random attempts, through the formulas that a host
    evaluates.
    """
    low, high = decision.observation.low, decision.observation.high
    rng = np.random.default_rng(0)
    wide = rng.uniform(low, high, (_SAMPLES // 2, decision.n_obs))
    attempts = 10.0 ** rng.uniform(-4.0, 1.0, (N_RECORD, _SAMPLES // 2))
    attempts[TRUNCATED], attempts[FINITE] = 0.0, 1.0
    heads = rng.uniform(-5.0, 2.0, (N_HEAD, _SAMPLES // 2))
    heads[S_STREAK:] = rng.integers(0, 3, heads[S_STREAK:].shape)

    def features(d: Decision) -> np.ndarray:
        state = np.zeros((d.n_state, _SAMPLES // 2))
        state[:N_HEAD] = heads
        with np.errstate(all="ignore"):
            d.features(d.params, state, attempts, None)
        return state[d.obs_at : d.obs_at + d.n_obs].T

    d = learned.decision
    raw = np.concatenate([wide, features(decision)])
    ours = np.concatenate([_normalised(learned, wide, found), features(d)])
    complaint = "the exported network does not reproduce the policy's own answers: the policy computes something else"
    theirs = raw if found is None else found.seen(raw)
    _alike(model, learned, *stacking.at_random(ours, theirs, learned.frames, rng), complaint)


def _normalised(learned: Learned, raw: np.ndarray, found: Statistics | None) -> np.ndarray:
    """Raw observations as the controller's network gets them.

    Without statistics the decision's own normaliser was the environment's, and they are normalised already.
    """
    d = learned.decision
    return raw if found is None else np.clip((raw - d.shift) * d.scale, -d.obs_clip, d.obs_clip)


def _compare_in(model: Any, learned: Learned, decision: Decision, found: Statistics | None, env: Any) -> None:
    """ValueError unless the controller answers as the policy does in the environment `env`.

    The controller is given what the environment itself observes, the policy what its wrappers show.
    """
    from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

    env = env if isinstance(env, VecEnv) else DummyVecEnv([lambda: env])
    cores = sources.cores_of(env)
    if not cores:
        raise ValueError(
            "env must be one of stepsmith's environments, wrapped or not: of another one raw observations are not known"
        )
    _check_decision(decision, cores)
    _check_bounds(model.policy.observation_space, env.observation_space)
    ours: list[np.ndarray] = []
    shown: list[np.ndarray] = []
    stacks, began = stacking.Stacks(learned.frames), None
    with sources.Resting(env):
        seen = env.reset()
        while sum(len(rows) for rows in ours) < _SAMPLES:
            raw = np.concatenate([core.obs for core in cores]).astype(np.float64)
            ours.append(stacks(_normalised(learned, raw, found), began))
            shown.append(np.array(seen))
            action, _ = model.predict(seen, deterministic=False)
            seen, _, began, _ = env.step(action)
    complaint = (
        "on observations of the environment the exported controller does not answer as the policy: a wrapper changes "
        "what the policy sees, and its statistics are missing or others"
    )
    _alike(model, learned, np.concatenate(ours), np.concatenate(shown), complaint)


def _check_decision(decision: Decision, cores: list[Any]) -> None:
    for core in cores:
        theirs = core.decision
        if theirs.key != decision.key or not np.array_equal(theirs.params, decision.params):
            raise ValueError(
                f"the environment was made with another decision, {theirs!r}, than the one given, {decision!r}"
            )


def _check_bounds(policy: Any, env: Any) -> None:
    """ValueError unless the policy was made for observations within the bounds of the environment's.

    A normalising wrapper changes these bounds.
    """
    if not (np.array_equal(policy.low, env.low) and np.array_equal(policy.high, env.high)):
        raise ValueError(
            f"the policy was made for observations from {policy.low.tolist()} to {policy.high.tolist()}, and env shows "
            f"them from {env.low.tolist()} to {env.high.tolist()}: it was trained under a wrapper that is missing from "
            "env, or in another environment"
        )


def _alike(model: Any, learned: Learned, ours: np.ndarray, theirs: np.ndarray, complaint: str) -> None:
    """ValueError(complaint) unless the controller's network answers `ours` as `model.predict` answers `theirs`."""
    answers, _ = model.predict(theirs.astype(np.float32), deterministic=True)
    answers = answers if learned.table is None else learned.table[answers]
    apart = np.abs(learned.action_numpy(ours.astype(np.float32)) - answers).max(axis=1)
    wrong = ~(apart <= TOLERANCE)
    # among discrete actions, two values may be level to float32
    if wrong.mean() > (0.0 if learned.table is None else 0.05):
        raise ValueError(f"{complaint} (actions differ by up to {np.max(apart):.3g})")
