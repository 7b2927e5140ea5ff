"""PPO whose discount counts time in the place of decisions: Stable-Baselines3's PPO with other advantages.

A decision of a step-size controller covers a step, long or short, or no time at all where it rejects one.  A discount a
decision makes the objective depend on how many decisions a span of time is divided into, which is what the policy
changes.  Here the discount is e^(-beta h) for a decision of the duration h, the decay of generalised advantages
e^(-(beta + kappa) h), and a truncated episode is bootstrapped with e^(-beta h) V.  The formulas stand in
`train.continuous_time`.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.utils import obs_as_tensor
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from ...integrators.core import options
from .. import continuous_time

#: arguments of PPO that have no place here, and what to give instead
REFUSED = {
    "gamma": "beta is the discount's rate: gamma = e^(-beta h) of a decision that covers the time h",
    "gae_lambda": "kappa is its rate: lambda = e^(-kappa h) of a decision that covers the time h",
    "rollout_buffer_class": "the buffer that stores durations is the algorithm's own",
    "rollout_buffer_kwargs": "the buffer that stores durations is the algorithm's own",
}


class TimedRolloutBuffer(RolloutBuffer):
    """A rollout buffer that stores, beside what `RolloutBuffer` does, two arrays (buffer_size, n_envs) float32:

    durations    the time that the decision covers.
    bootstraps   the value of the last observation where the decision's episode was truncated behind it, else 0.

    beta, kappa, reward: as of `TimeAwarePPO`.
    """

    def __init__(
        self, *args: Any, beta: float = 1.0, kappa: float = 5.0, reward: str = "count", **kwargs: Any
    ) -> None:
        self.beta, self.kappa, self.reward = beta, kappa, reward
        super().__init__(*args, **kwargs)

    def reset(self) -> None:
        self.durations = np.zeros((self.buffer_size, self.n_envs), np.float32)
        self.bootstraps = np.zeros_like(self.durations)
        super().reset()

    def add(self, *args: Any, durations: Any = 0.0, bootstraps: Any = 0.0, **kwargs: Any) -> None:
        """As that of `RolloutBuffer`; durations, bootstraps: (n_envs,)."""
        self.durations[self.pos], self.bootstraps[self.pos] = durations, bootstraps
        super().add(*args, **kwargs)

    def compute_returns_and_advantage(self, last_values: torch.Tensor, dones: np.ndarray) -> None:
        """Advantages and returns with discounts by time; last_values, dones (n_envs,): behind the last decisions."""
        ends = np.concatenate([self.episode_starts[1:], np.asarray(dones, np.float32)[None]]) != 0.0
        last = last_values.detach().cpu().numpy().reshape(self.n_envs)
        found = continuous_time.advantages(
            self.rewards, self.values, last, self.durations, ends, self.bootstraps, self.beta, self.kappa, self.reward
        )
        self.advantages = found.astype(np.float32)
        self.returns = self.advantages + self.values


class TimedDictRolloutBuffer(TimedRolloutBuffer, DictRolloutBuffer):
    """The same for observations that are dictionaries."""


class TimeAwarePPO(PPO):
    """PPO with a discount per unit of time, for environments whose decisions cover different times.

    policy, env    as those of `stable_baselines3.PPO`, with all its other arguments except gamma, gae_lambda and those
                   of the rollout buffer, which are refused.
    beta           discount rate per unit of time, at least 0: a decision of duration h discounts by e^(-beta h).
    kappa          minus the logarithm of lambda per unit of time, at least 0.
    reward         "count": what a decision pays is paid once, and not discounted within it.  "rate": it is paid per
                   unit of time, so that a decision pays r (1 - e^(-beta h))/beta.

    The unit of time is that of the durations.  stepsmith's environments give them as shares of the episode's span, so
    that beta = 1 discounts by e^-1 over an episode; the defaults are about gamma = .99 and lambda = .95 at a hundred
    decisions a span.

    Durations are the attribute `durations`, (num_envs,), of the VecEnv or of one that it wraps, or else
    `infos[i]["duration"]`: the time that the decision just made covers, 0 where no time passed.  ValueError where
    neither is there, and for a duration that is negative or not finite; OptionError for bad arguments.
    """

    def __init__(
        self, policy: Any, env: Any, learning_rate: Any = 3e-4, n_steps: int = 2048, batch_size: int = 64,
        n_epochs: int = 10, *, beta: float = 1.0, kappa: float = 5.0, reward: str = "count", **rest: Any,
    ) -> None:  # fmt: skip
        for name, instead in REFUSED.items():
            if name in rest:
                raise options.OptionError(f"{name} must be left out of TimeAwarePPO: {instead}")
        self.beta, self.kappa, self.reward = beta, kappa, reward
        super().__init__(
            policy, env, learning_rate, n_steps, batch_size, n_epochs, gamma=1.0, gae_lambda=1.0, **rest
        )  # fmt: skip

    def _setup_model(self) -> None:
        for name in ("gamma", "gae_lambda"):  # given to `load`
            if getattr(self, name) != 1.0:
                raise options.OptionError(f"{name} must be left out of TimeAwarePPO: {REFUSED[name]}")
        self.beta = options.number("beta", self.beta, low=0.0)
        self.kappa = options.number("kappa", self.kappa, low=0.0)
        self.reward = options.choice("reward", self.reward, continuous_time.KINDS)
        nested = isinstance(self.observation_space, spaces.Dict)
        self.rollout_buffer_class = TimedDictRolloutBuffer if nested else TimedRolloutBuffer
        self.rollout_buffer_kwargs = {"beta": self.beta, "kappa": self.kappa, "reward": self.reward}
        super()._setup_model()

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """As that of Stable-Baselines3, which says what it takes and returns, with durations; and truncated episodes
        are told to the buffer, where SB3 adds their value to the reward."""
        assert self._last_obs is not None
        self.policy.set_training_mode(False)
        n_steps = 0
        rollout_buffer.reset()
        if self.use_sde:
            self.policy.reset_noise(env.num_envs)
        callback.on_rollout_start()
        source = timed(env)
        while n_steps < n_rollout_steps:
            if self.use_sde and self.sde_sample_freq > 0 and n_steps % self.sde_sample_freq == 0:
                self.policy.reset_noise(env.num_envs)
            with torch.no_grad():
                obs_tensor = obs_as_tensor(self._last_obs, self.device)  # type: ignore[arg-type]
                actions, values, log_probs = self.policy(obs_tensor)
            actions = actions.cpu().numpy()
            new_obs, rewards, dones, infos = env.step(self._carried_out(actions))
            self.num_timesteps += env.num_envs
            callback.update_locals(locals())
            if not callback.on_step():
                return False
            self._update_info_buffer(infos, dones)
            n_steps += 1
            told: Any = rollout_buffer
            told.add(
                self._last_obs, actions, rewards, self._last_episode_starts, values, log_probs,
                durations=durations_of(source, infos), bootstraps=self._bootstraps(dones, infos),
            )  # fmt: skip
            self._last_obs, self._last_episode_starts = new_obs, dones  # type: ignore[assignment]
        with torch.no_grad():
            values = self.policy.predict_values(obs_as_tensor(new_obs, self.device))  # type: ignore[arg-type]
        rollout_buffer.compute_returns_and_advantage(last_values=values, dones=dones)
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def _carried_out(self, actions: np.ndarray) -> np.ndarray:
        """The actions within the bounds of the environment."""
        if not isinstance(self.action_space, spaces.Box):
            return actions
        if self.policy.squash_output:
            return self.policy.unscale_action(actions)
        return np.clip(actions, self.action_space.low, self.action_space.high)

    def _bootstraps(self, dones: np.ndarray, infos: list[dict[str, Any]]) -> np.ndarray:
        """(n_envs,): values of the last observations of episodes that were truncated, else 0."""
        found = np.zeros(len(dones), np.float32)
        cut = [i for i in np.flatnonzero(dones).tolist() if infos[i].get("TimeLimit.truncated", False)]
        cut = [i for i in cut if infos[i].get("terminal_observation") is not None]
        if cut:
            seen = [infos[i]["terminal_observation"] for i in cut]
            nested = isinstance(self.observation_space, spaces.Dict)
            obs: Any = {k: np.stack([s[k] for s in seen]) for k in seen[0]} if nested else np.stack(seen)
            with torch.no_grad():
                found[cut] = self.policy.predict_values(self.policy.obs_to_tensor(obs)[0]).cpu().numpy().reshape(-1)
        return found

    def learn(
        self, total_timesteps: int, callback: MaybeCallback = None, log_interval: int = 1,
        tb_log_name: str = "TimeAwarePPO", reset_num_timesteps: bool = True, progress_bar: bool = False,
    ) -> TimeAwarePPO:  # fmt: skip
        """As that of `stable_baselines3.PPO`."""
        return super().learn(total_timesteps, callback, log_interval, tb_log_name, reset_num_timesteps, progress_bar)


def _arguments() -> inspect.Signature:
    """What `TimeAwarePPO` takes: what PPO does, for those who ask (a training config, a reader's editor)."""
    own = inspect.signature(TimeAwarePPO.__init__).parameters
    theirs = [p for p in inspect.signature(PPO.__init__).parameters.values() if p.name not in REFUSED]
    rest = [p.replace(kind=p.KEYWORD_ONLY) for p in theirs if p.name not in own]
    return inspect.Signature([*(p for p in own.values() if p.name != "rest"), *rest])


TimeAwarePPO.__init__.__signature__ = _arguments()  # type: ignore[attr-defined]


def timed(env: Any) -> Any:
    """The outermost of a VecEnv and those that it wraps that has `durations`; None where none has."""
    while not _own(env) or getattr(env, "durations", None) is None:
        if not isinstance(env, VecEnvWrapper):
            return None
        env = env.venv
    return env


def _own(env: Any) -> bool:
    """Whether `durations` is its own, and not one that a wrapper looks up in what it wraps, slowly."""
    return "durations" in vars(env) or hasattr(type(env), "durations")


def durations_of(source: Any, infos: list[dict[str, Any]]) -> np.ndarray:
    """(n_envs,) float64: the durations of the decisions just made; source: of `timed`."""
    if source is None:
        without = next((i for i, info in enumerate(infos) if "duration" not in info), None)
        if without is not None:
            raise ValueError(
                "TimeAwarePPO needs the time that each decision covers: neither has the VecEnv an attribute "
                f"`durations`, (num_envs,), nor the info of environment {without} a 'duration'"
            )
        found = np.array([info["duration"] for info in infos], np.float64)
    else:
        found = np.asarray(source.durations, np.float64)
    if found.shape != (len(infos),) or not np.all((found >= 0.0) & (found < np.inf)):
        raise ValueError(
            f"durations must be {len(infos)} finite numbers of at least 0, one for each environment, got "
            f"{options.shown(found.tolist())}"
        )
    return found
