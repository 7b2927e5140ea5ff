"""State of a Stable-Baselines3 training run as plain data, and models that say when they stand between two rollouts.

    parameters   networks and optimisers            counters   steps, updates, exploration
    tensors      what SB3 keeps beside them         random     generators of torch, NumPy, Python and the action space
    seen         last observations, episode starts  env        lanes of the batch core (`envs.state`)
    replay       the filled part of the replay buffer (off-policy algorithms)

Restored into a model that was built from the same config, training goes on to the same numbers, to the last bit.  SB3's
own file, a zip that holds pickled Python objects, is not read.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

COUNTERS = (
    "num_timesteps",
    "_n_updates",
    "_episode_num",
    "_current_progress_remaining",
    "_n_calls",
    "exploration_rate",
)
SEEN = ("_last_obs", "_last_original_obs", "_last_episode_starts")


def between_rollouts(cls: type) -> type:
    """The algorithm `cls` with one addition: `boundary(model)` of its callback is called before every rollout, when
    nothing of it has been drawn.
    """

    class Model(cls):
        def collect_rollouts(self, env: Any, callback: Any, *args: Any, **kwargs: Any) -> Any:
            callback.boundary(self)
            return super().collect_rollouts(env, callback, *args, **kwargs)

    Model.__name__ = Model.__qualname__ = cls.__name__  # what tensorboard's folder is called
    return Model


def state_of(model: Any, core: Any) -> dict[str, Any]:
    """Plain data for `restore`, at a boundary."""
    state = {
        "parameters": model.get_parameters(),
        "tensors": {name: _attribute(model, name) for name in model._get_torch_save_params()[1]},
        "counters": {name: getattr(model, name) for name in COUNTERS if hasattr(model, name)},
        "seen": {name: getattr(model, name) for name in SEEN},
        "random": {
            "numpy": np.random.get_state(legacy=False),  # noqa: NPY002 (replay buffers draw from it)
            "torch": torch.get_rng_state(), "python": random.getstate(),
            "actions": model.action_space.np_random.bit_generator.state,
        },
        "env": core.get_state(),
    }  # fmt: skip
    if (buffer := getattr(model, "replay_buffer", None)) is not None:
        filled = buffer.buffer_size if buffer.full else buffer.pos
        arrays = {
            k: v[:filled] for k, v in vars(buffer).items() if isinstance(v, np.ndarray) and len(v) == buffer.buffer_size
        }
        state["replay"] = {"pos": buffer.pos, "full": buffer.full, "arrays": arrays}
    return state


def restore(model: Any, venv: Any, state: dict[str, Any]) -> None:
    """Put `state` into a model that was built from the same config over `venv`.

    KeyError, ValueError and others where it does not fit.
    """
    model.set_parameters(state["parameters"], exact_match=True)
    with torch.no_grad():
        for name, value in state["tensors"].items():
            _attribute(model, name).copy_(value)
    for name, value in state["counters"].items():
        setattr(model, name, value)
    for name in SEEN:
        setattr(model, name, state["seen"][name])
    if "replay" in state:
        saved, buffer = state["replay"], model.replay_buffer
        for name, array in saved["arrays"].items():
            getattr(buffer, name)[: len(array)] = array
        buffer.pos, buffer.full = saved["pos"], saved["full"]
    inner = venv.unwrapped
    inner.core.set_state(state["env"])
    inner._keyed = True  # the lanes have their generators' keys
    inner._reset_seeds()
    drawn = state["random"]
    torch.set_rng_state(drawn["torch"])
    np.random.set_state(drawn["numpy"])  # noqa: NPY002
    random.setstate(drawn["python"])
    model.action_space.np_random.bit_generator.state = drawn["actions"]


def _attribute(model: Any, name: str) -> Any:
    for step in name.split("."):
        model = getattr(model, step)
    return model
