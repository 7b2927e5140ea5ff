"""Small actors for Stable-Baselines3: a policy whose network is cheap enough for a solver's inner loop, beside a critic
of its own size, that begins as the law it stands on.

    kwargs = small_actor.policy_kwargs("sac", hidden=[8], activation="relu")     # []: linear in the features
    model = SAC("MlpPolicy", venv, policy_kwargs=kwargs)
    small_actor.start_as_the_law(model)

The critic is no part of the controller, so that it may be as large as learning takes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ..integrators.core import options

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

#: widths of the critic's hidden layers where none are named
CRITIC = (64, 64)
#: what `net_arch` calls the critic; algorithms that are not here have none beside the policy (DQN)
CRITICS = {
    "ppo": "vf", "time_aware_ppo": "vf", "a2c": "vf", "sac": "qf", "td3": "qf", "ddpg": "qf", "tqc": "qf",
    "crossq": "qf",
}  # fmt: skip
#: torch's activations by their names in controller files
ACTIVATIONS: dict[str, Callable[[], torch.nn.Module]] = {
    "tanh": torch.nn.Tanh, "relu": torch.nn.ReLU, "elu": torch.nn.ELU, "silu": torch.nn.SiLU, "gelu": torch.nn.GELU,
    "gelu_tanh": functools.partial(torch.nn.GELU, approximate="tanh"), "leaky_relu": torch.nn.LeakyReLU,
}  # fmt: skip


def policy_kwargs(
    algorithm: str, hidden: Sequence[int] = (8,), critic: Sequence[int] = CRITIC, activation: str = "relu"
) -> dict[str, Any]:
    """`policy_kwargs` of an MlpPolicy.

    algorithm     "ppo", "time_aware_ppo", "a2c", "sac", "td3", "ddpg", "dqn", "tqc" or "crossq"
    hidden        widths of the actor's hidden layers; none of them: linear in the features
    critic        widths of the critic's hidden layers
    activation    of both, one of `ACTIVATIONS`

    OptionError for unknown names.
    """
    options.choice("algorithm", algorithm, (*CRITICS, "dqn"))
    options.choice("activation", activation, tuple(ACTIVATIONS))
    actor = [options.count(f"hidden[{i}]", width) for i, width in enumerate(hidden)]
    net_arch: Any = actor
    if algorithm in CRITICS:
        net_arch = {"pi": actor, CRITICS[algorithm]: [options.count(f"critic[{i}]", w) for i, w in enumerate(critic)]}
    return {"net_arch": net_arch, "activation_fn": ACTIVATIONS[activation]}


def start_as_the_law(model: BaseAlgorithm, log_std: float | None = None) -> None:
    """Let an actor begin with the action 0, which is the law.

    model      SAC (its mean action), TD3 or DDPG (actor and target); PPO nearly does by itself, and is left alone
    log_std    SAC: the first log standard deviation; None: its own
    """
    from stable_baselines3 import SAC, TD3

    with torch.no_grad():
        if isinstance(model, SAC):
            _zero(model.actor.mu)
            if log_std is not None:
                head: Any = model.actor.log_std
                head.weight.zero_()
                head.bias.fill_(log_std)
        elif isinstance(model, TD3):  # and DDPG, which is one
            for actor in (model.actor, model.actor_target):
                _zero([layer for layer in actor.mu if isinstance(layer, torch.nn.Linear)][-1])


def start_at(model: BaseAlgorithm, action: float) -> None:
    """Let an actor of PPO begin with about this first action, whatever it sees; the others are left alone."""
    policy: Any = model.policy
    with torch.no_grad():
        policy.action_net.bias[0] = action


def _zero(layer: Any) -> None:
    layer.weight.zero_()
    layer.bias.zero_()
