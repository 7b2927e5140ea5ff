"""`stepsmith/NeuralODE-v0`: choose step sizes while integrating fields that drift, as those of a training do.

`NeuralODEEnv` says what is observed, done and paid; `make_core` builds what an environment's arguments describe.
"""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from ...integrators.kernels.environment.series_rows import MORE_NAMES
from ..core import Core
from ..faces import Native, Single
from ..ode import spaces_of as spaces_of_steps
from .core import make_core

__all__ = ["NeuralODEEnv", "NeuralODEVectorEnv", "make_core", "spaces_of"]

#: bounds of what is observed beside the features, `MORE_NAMES`
BOUNDS = {"starting": (0.0, 1.0), "warm": (0.0, 1.0), "log_first": (-10.0, 0.0), "log_attempts": (0.0, 10.0),
          "rejected": (0.0, 1.0)}  # fmt: skip


def spaces_of(core: Core) -> tuple[spaces.Box, spaces.Box]:
    """Observation space and action space of one lane."""
    features, _ = spaces_of_steps(core)
    low, high = np.array([BOUNDS[name] for name in MORE_NAMES], np.float32).T
    # a lane that has no solve behind it shows zeros in the place of features, some of which are never zero
    return (
        spaces.Box(
            np.concatenate([np.minimum(features.low, 0.0), low]),
            np.concatenate([np.maximum(features.high, 0.0), high]),
            dtype=np.float32,
        ),
        spaces.Box(-1.0, 1.0, (core.n_act,), np.float32),
    )  # fmt: skip


class NeuralODEEnv(Single):
    """
    ## Description

    A neural differential equation is solved again and again while it trains, and its field drifts from solve to solve.
    The agent chooses the step sizes.  An episode is one solve of one snapshot of a real training, from one row of its
    data.  Consecutive episodes of a lane are the snapshots of one training in their order, at one tolerance;
    then comes another training.  The trainings are those of `stepsmith/Regularization-v0`
    (`integrators/problems/nonstiff/neural_training.py`).

    With two or three actions, an episode begins with a decision on the size of its first attempt, before which no
    attempt is made.  Every other step of the environment carries out the decision on the last attempt and makes the
    next one, as in `stepsmith/ODE-v0`.

    ## Action Space

    `Box(-1, 1, (n_act,), float32)`.  Zero is the law with the warm start of `NeuralODE(warm_start=True)`.

    | action | n_act | what it changes |
    |---|---|---|
    | 0 | 1, 2, 3 | the step size: a residual on the logarithm of the factor that the law proposes |
    | 1 | 2, 3 | at an episode's first decision, the first size: up to a factor 7.4 either way |
    | 2 | 3 | how evenly what is left is divided: 1 even steps, 0 none, -1 even steps no shorter than asked for |

    `kernels/environment/series.py` has the formulas.  Action 0 has no effect at an episode's first decision, action 1
    none at later ones.  After a rejection a negative action 2 has none either.  Where one entry is not finite or lies
    outside, the law answers for all, and this is counted.

    ## Observation Space

    `Box(low, high, (n_obs,), float32)`: the features of the last attempt that `features` names, as in
    `stepsmith/ODE-v0`; at an episode's first decision those of the first attempt of the solve before, also of one that
    a reset broke off, zeros where there is none.  Then `kernels.environment.series_rows.MORE_NAMES`: starting (1 at an
    episode's first decision), warm (1 where a solve before says with which size to begin), log_first (log of that size
    over the span), log_attempts and rejected (of the last solve).

    ## Rewards

    Those of `stepsmith/ODE-v0`.  The baseline begins cold, with the automatic first size, in every solve.  The decision
    on the first size pays nothing: its evaluations are paid with the solve's.

    ## Starting State

    A training of the pool, drawn uniformly, at its first snapshot, and a relative tolerance drawn log-uniformly from
    `rtol`.

    ## Episode End

    The episode terminates when the end of the span is reached, or when the integration fails.  It is truncated after
    `max_attempts` attempts.  `info["stepsmith"]` then holds its statistics (`kernels.environment.env.EPISODE`).  A
    solve that fails or is cut leaves no size: the next one begins with the automatic one.  A reset in the middle of an
    episode goes on to the next snapshot, with what the last solve that ended has left.

    ## Arguments

    Those of `make_core`, which says what they are, all by name, and `render_mode`: None or "rgb_array".

    ```python
    >>> import gymnasium as gym
    >>> import stepsmith
    >>> env = gym.make("stepsmith/NeuralODE-v0", split="train", n_act=3)
    ```

    ## Version History

    * v0: Initial version
    """

    make = staticmethod(make_core)
    spaces_of = staticmethod(spaces_of)


class NeuralODEVectorEnv(Native):
    """`num_envs` lanes of what `NeuralODEEnv` describes as a native vector environment.

    Its arguments are those of `make_core`, all by name, and those of `faces.Native`: num_envs, autoreset_mode.
    """

    make = staticmethod(make_core)
    spaces_of = staticmethod(spaces_of)
