"""Whether a model's observations were normalised: what the caller says, what the model holds, and what cannot be known.

`PPO.load` gives a model without its environment, and SB3 keeps a VecNormalize's statistics in a file of their own.  A
network that was trained on normalised observations and runs on raw ones still answers; nothing looks wrong.  So an
export asks until it knows.
"""

from __future__ import annotations

from typing import Any

from ..integrators.core import options
from .normalisation import ATTRIBUTE, Statistics

_REMEDY = (
    "give normaliser= (the VecNormalize, the path of its file, or mean and var), env= (the "
    "environment that it was trained in, wrappers included), or normalised=False where the "
    "policy saw observations as stepsmith's environments give them"
)
_SHOW = (
    "give it as normaliser= (the VecNormalize, the path of its file, or mean and var) or within env=, "
    "as where rewards alone were normalised, or say with normalisation.keep(model, False) that observations were not"
)


def statistics(model: Any, normaliser: Any, normalised: bool | None, env: Any) -> Statistics | None:
    """What the policy's observations were normalised by; None where they were not.

    Sought in this order: `normaliser`, the VecNormalize of `env`, that of the model's own environment, what
    `normalisation.keep` left on the model.

    Raises ValueError where they contradict `normalised`, where the model was trained under a VecNormalize and has no
    statistics, and where nothing says what the policy saw.
    """
    wrapper = None
    if normaliser is not None:
        found, known = Statistics.of(normaliser), True
    else:
        wrapper = _wrapper(model, env)
        found, known = (Statistics.of(wrapper), False) if wrapper is not None else _kept(model)
    _enough(model, wrapper if normaliser is None else normaliser)
    if found is not None and normalised is False:
        raise ValueError(
            "normalised=False, but there are statistics of observations: of the normaliser given, or of the model's own"
        )
    if found is None and normalised is True:
        raise ValueError("normalised=True, but there are no statistics: give normaliser=")
    if (
        not known
        and normalised is False
        and _under_normalize(model)
        and not (wrapper is not None and not wrapper.norm_obs)
    ):
        raise ValueError(f"normalised=False, but the model was trained under a VecNormalize: {_SHOW}")
    # of an env that is given, the answers are compared on its observations
    if known or normalised is False or (found is not None and env is not None):
        return found
    under = wrapper is None and _under_normalize(model)
    if under is None:
        raise ValueError(f"nothing says whether the model has learned under a VecNormalize: {_SHOW}")
    if under:
        raise ValueError(
            "the model was trained under a VecNormalize, whose statistics it does not hold: without them it would be "
            f"shown observations that it was not trained on; {_SHOW}"
        )
    if env is not None:
        return found
    own = model.get_env()
    if own is None:
        raise ValueError(
            f"the model has no environment, and nothing says whether its observations were normalised: {_REMEDY}"
        )
    doubtful = changes(own, wrapper)
    if doubtful:
        raise ValueError(f"the model's environment is wrapped in {doubtful}, which may change observations: {_REMEDY}")
    return found


def _under_normalize(model: Any) -> bool | None:
    """Whether the model has learned under a VecNormalize; None where nothing says.

    SB3 then keeps observations as they were before it, in the model's zip too.  Algorithms with a replay buffer (SAC,
    TD3, DDPG, DQN, TQC, CrossQ) keep some in any case: of those the environment in which they last learned says it.
    One that was put in its place by `set_env` or `load` says nothing; SB3 has forgotten the last observation then, or,
    with force_reset=False, a loaded model has an empty buffer.
    """
    from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

    if getattr(model, "_last_original_obs", None) is None:
        return False
    if not isinstance(model, OffPolicyAlgorithm) or model.get_vec_normalize_env() is not None:
        return True
    buffer = model.replay_buffer
    seen = buffer is not None and buffer.size() > 0
    return False if seen and model.get_env() is not None and model._last_obs is not None else None


def _enough(model: Any, source: Any) -> None:
    """ValueError where a VecNormalize has seen far fewer observations than the model has learned from."""
    rms = getattr(source, "obs_rms", None)
    count = getattr(rms, "count", None)
    if getattr(source, "norm_obs", False) and isinstance(count, (int, float)) and count < 0.5 * model.num_timesteps:
        raise ValueError(
            f"the VecNormalize has seen {count:.0f} observations, and the model has learned from "
            f"{model.num_timesteps}: give the one that "
            "it was trained under, or its statistics"
        )


def _wrapper(model: Any, env: Any) -> Any:
    """The VecNormalize of the environment given, or else of the model's own; None without one."""
    from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

    if env is None:
        return model.get_vec_normalize_env()
    return unwrap_vec_normalize(env) if isinstance(env, VecEnv) else None


def _kept(model: Any) -> tuple[Statistics | None, bool]:
    """(statistics, whether the model says that these, or none, are right)."""
    kept = getattr(model, ATTRIBUTE, None)
    if not isinstance(kept, dict) or "normaliser" not in kept:
        return None, False
    if kept["normaliser"] is None:
        return None, True
    then, now = kept.get("num_timesteps"), int(model.num_timesteps)
    if then != now:
        raise ValueError(
            f"the statistics that the model keeps are of step {options.shown(then)}, and it has learned up to step "
            f"{now}: call normalisation.keep(model) again after learning, or {_REMEDY}"
        )
    return Statistics.of(kept["normaliser"]), True


def changes(env: Any, taken: Any = None) -> str | None:
    """Name of the outermost wrapper that may change observations; None where there is none.

    taken: a wrapper whose statistics are known, which does not count; nor does VecFrameStack, which `stacking` looks
    for.  Wrappers of SB3 and Gymnasium that leave
    observations alone are known; one of your own says so by `passes_observations = True`.
    """
    import gymnasium
    from gymnasium import wrappers as gym
    from stable_baselines3.common.monitor import Monitor
    from stable_baselines3.common.vec_env import (
        DummyVecEnv,
        VecCheckNan,
        VecEnvWrapper,
        VecFrameStack,
        VecMonitor,
        VecNormalize,
        VecVideoRecorder,
    )

    passing = (
        VecMonitor, VecCheckNan, VecVideoRecorder, VecFrameStack, Monitor, gym.TimeLimit, gym.OrderEnforcing,
        gym.PassiveEnvChecker, gym.RecordEpisodeStatistics, gym.RecordVideo,
    )  # fmt: skip
    while True:
        if isinstance(env, DummyVecEnv):
            found = [changes(e, taken) for e in env.envs]
            return next((name for name in found if name), None)
        if not isinstance(env, (VecEnvWrapper, gymnasium.Wrapper)):
            # what other processes hold cannot be looked at
            return type(env).__name__ if hasattr(env, "remotes") else None
        still = env is taken or (isinstance(env, VecNormalize) and not env.norm_obs)
        if not (still or isinstance(env, passing) or getattr(env, "passes_observations", False) is True):
            return type(env).__name__
        env = env.venv if isinstance(env, VecEnvWrapper) else env.env


def cores_of(env: Any) -> list[Any]:
    """The batch cores beneath all wrappers, in the order of the lanes."""
    from stable_baselines3.common.vec_env import VecEnvWrapper

    while isinstance(env, VecEnvWrapper):
        env = env.venv
    found = [env] if hasattr(env, "core") else [e.unwrapped for e in getattr(env, "envs", ())]
    cores = [getattr(e, "core", None) for e in found]
    return [] if any(not hasattr(c, "obs") or not hasattr(c, "decision") for c in cores) else cores


class Resting:
    """While it is entered, no VecNormalize of an environment learns from what passes."""

    def __init__(self, env: Any) -> None:
        from stable_baselines3.common.vec_env import VecEnvWrapper, VecNormalize

        self.found: list[tuple[Any, bool]] = []
        while isinstance(env, VecEnvWrapper):
            if isinstance(env, VecNormalize):
                self.found.append((env, env.training))
            env = env.venv

    def __enter__(self) -> None:
        for wrapper, _ in self.found:
            wrapper.training = False

    def __exit__(self, *_: Any) -> None:
        for wrapper, training in self.found:
            wrapper.training = training
