"""`stepsmith/Sampler-v0`: choose the next time on the way from noise to data, with few evaluations of a model.

`SamplerEnv` says what is observed, done and paid; `make_core` builds what an environment's arguments describe.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from ..envs.faces import Native, Single
from ..integrators.core import options
from ..integrators.core import torch_needed as _torch_needed  # noqa: F401 (before torch)

# isort: split
from . import clock
from .learners.shapes import shape_of
from .mixture import mixture
from .model import Model
from .sampler_core import EPISODE, MOST, SPLITS, SamplerCore

__all__ = ["EPISODE", "SamplerCore", "SamplerEnv", "SamplerVectorEnv", "make_core", "spaces_of"]


def make_core(
    lanes: int,
    same_step: bool,
    model: Model | None = None,
    shape: Any = None,
    steps: int = 8,
    samples: int = 1,
    pool_size: int = 512,
    split: str = "train",
    pool_seed: int = 0,
    max_attempts: int | None = None,
    dtype: str = "float32",
) -> SamplerCore:
    """Build the batch core that an environment's arguments describe.

    lanes       number of environments in lock-step.
    same_step   a finished lane restarts in the call that ended it, instead of the next one.
    model       a `flows.Model`; None: an exact mixture of four Gaussians in the plane.
    shape       of one sample; None where the model knows it.
    steps       evaluations of the model on the way, at least 2.
    samples     samples of a lane, which share their times; the observation is the mean over them.
    pool_size   lanes' worth of noise that episodes draw from; split, pool_seed: "train", "validation" or "test", and
                the seed, that it is drawn with.
    max_attempts
                decisions after which an episode is truncated; None: never, the way is always walked to its end.
    dtype       of the samples, "float32" or "float64".

    The fine solver and AB2 on even steps run once for the pool.  Raises ValueError on bad values.
    """
    if model is None:
        model = mixture([[2.0, 0.0], [-2.0, 0.0], [0.0, 2.0], [0.0, -2.0]], [0.3, 0.3, 0.3, 0.3])
    if not isinstance(model, Model):
        raise options.refuse("model", "a flows.Model or None", model)
    lanes, same_step = options.count("num_envs", lanes, high=MOST), options.flag("same_step", same_step)
    given = {
        "model": model, "shape": shape_of(model, shape), "steps": options.count("steps", steps, 2, 1000),
        "samples": options.count("samples", samples, high=2**16),
        "pool_size": options.count("pool_size", pool_size, high=2**20),
        "split": options.choice("split", split, SPLITS),
        "pool_seed": options.count("pool_seed", pool_seed, 0, 2**32),
        "max_attempts": options.count("max_attempts", max_attempts, none=True) or 2**31,
        "dtype": options.choice("dtype", dtype, ("float32", "float64")),
    }  # fmt: skip
    core = SamplerCore(lanes, same_step, **given)
    core.recipe = make_core, (lanes, same_step), given
    return core


def spaces_of(core: SamplerCore) -> tuple[spaces.Box, spaces.Box]:
    """Observation space and action space of one lane."""
    return (
        spaces.Box(-clock.BOUND, clock.BOUND, (len(clock.FEATURES),), np.float32),
        spaces.Box(-1.0, 1.0, (core.n_act,), np.float32),
    )


class SamplerEnv(Single):
    """
    ## Description

    A frozen flow or diffusion model turns noise into data by following its probability flow, here with AB2 and `steps`
    evaluations in all.  The agent sets the time of the next evaluation from what it sees of the samples so far.

    ## Action Space

    `Box(-1, 1, (1,), float32)`: with n steps to go, the odds of the next step's share of the rest of the way are
    exp(1.5 action) / (n - 1); zero divides the rest evenly.  The last step goes to the end and is taken by itself.
    An action that is not finite or lies outside by more than 1e-6 is answered as zero, and counted (`nfallback`).

    ## Observation Space

    `Box(-5, 5, (7,), float32)`: `clock.FEATURES`, scale-free; with `samples` above 1 the mean over them.

    ## Rewards

    At the end log(e_even / e), clipped to [-3, 3], e being the RMS distance to a fine solver's samples and e_even that
    of AB2 on even steps (of an EDM process on its authors' grid) from the same noise; nothing before.  Samples that are
    not finite pay -3.

    ## Starting State

    Noise of the pool, drawn uniformly.

    ## Episode End

    The episode terminates when the end of the way is reached, after steps - 1 decisions, or when a sample is not
    finite.  It is truncated after `max_attempts` decisions where that is asked for.  `info["stepsmith"]` then holds its
    statistics (`sampler_core.EPISODE`).

    ## Arguments

    Those of `make_core`, which says what they are, all by name.

    ```python
    >>> import gymnasium as gym
    >>> import stepsmith
    >>> env = gym.make("stepsmith/Sampler-v0", steps=8)
    ```

    ## Version History

    * v0: Initial version
    """

    metadata = {"render_modes": []}
    make = staticmethod(make_core)
    spaces_of = staticmethod(spaces_of)


class SamplerVectorEnv(Native):
    """`num_envs` lanes of what `SamplerEnv` describes as a native vector environment.

    Its arguments are those of `make_core`, all by name, and those of `faces.Native`: num_envs, autoreset_mode.
    """

    make = staticmethod(make_core)
    spaces_of = staticmethod(spaces_of)
