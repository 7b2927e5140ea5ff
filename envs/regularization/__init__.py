"""`stepsmith/Regularization-v0`: how strongly to regularise a neural differential equation while it trains.

`RegularizationEnv` says what is observed, done and paid; `make_core` builds what an environment's arguments describe.
"""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from ...controllers.strengths.observation import BOUND
from ..faces import Native, Single
from .core import TrainingCore, make_core

__all__ = ["RegularizationEnv", "RegularizationVectorEnv", "TrainingCore", "make_core", "spaces_of"]


def spaces_of(core: TrainingCore) -> tuple[spaces.Box, spaces.Box]:
    """Observation space and action space of one lane."""
    return (
        spaces.Box(-BOUND, BOUND, (len(core.features),), np.float32), spaces.Box(-1.0, 1.0, (core.n_act,), np.float32),
    )  # fmt: skip


class RegularizationEnv(Single):
    """
    ## Description

    A small neural ordinary differential equation learns a table of data, and the agent chooses how strongly its error
    and stiffness estimates are penalised, and its tolerance, for the next `ITERATIONS` iterations.  An episode is one
    training of `DECISIONS` decisions, after a warm-up without penalty.  A strength is the ratio of the penalty's
    gradient to the task loss's, which means the same in every task and at every tolerance.

    ## Action Space

    `Box(-1, 1, (actions,), float32)`.

    | action | what it sets | -1 | 0 | 1 |
    |---|---|---|---|---|
    | 0 | ratio of the mean of E_j h_j | none | .32 | 10 |
    | 1 | ratio of the mean of S_j h_j | none | none | 10 |
    | 2 | factor of the tolerance | .1 | 1 | 10 |

    All are exponential in between.  An action of which one component is not finite or lies outside by more than 1e-6 is
    answered as if all were zero, and counted (`nfallback`); within 1e-6 it is clipped.

    ## Observation Space

    `Box(-5, 5, (18,), float32)`: logarithms of ratios, `observe.FEATURES`; with `observe="training"` the 15 of them
    that need no held-out rows, with `observe="run"` the 7 that any training loop can tell, and with
    `observe="spectrum"` 20: all, and how gradients grow in a solve (`observe.SETS`).

    ## Rewards

    Minus the f-evaluations of the decision over twice those of the whole training without a penalty.  At the end, minus
    the f-evaluations of a prediction, at the instance's own tolerance, over twice those without a penalty; minus
    `lagrange` for every budget by which the quality on held-out rows is worse than the budget allows (at most 10); plus
    the cost of the best constant strength of this very instance, so that a return of zero is as good as it (`grid`).
    With `against=0.1` a return of zero is as good as that constant ratio.  A training that fails pays for what it
    leaves out as if without a penalty, and `fail` on top.

    ## Starting State

    An instance of the split, drawn uniformly, with its own initial weights (`instances`), after the warm-up.

    ## Episode End

    The episode terminates after `DECISIONS` decisions, which are observed as progress, and where a solve or a loss
    fails.  It is never truncated.  `info["stepsmith"]` then holds its statistics (`core.EPISODE`).

    ## Arguments

    Those of `make_core`, which says what they are, all by name.

    Lanes are trained in one batch of matrices: a vector environment and as many single ones agree up to round-off,
    which long trainings magnify, and not to the last bit.

    ```python
    >>> import gymnasium as gym
    >>> import stepsmith
    >>> env = gym.make("stepsmith/Regularization-v0", split="train")
    ```

    ## Version History

    * v0: Initial version
    """

    metadata = {"render_modes": []}
    make = staticmethod(make_core)
    spaces_of = staticmethod(spaces_of)


class RegularizationVectorEnv(Native):
    """`num_envs` lanes of what `RegularizationEnv` describes as a native vector environment.

    Its arguments are those of `make_core`, all by name, and those of `faces.Native`: num_envs, autoreset_mode.
    """

    make = staticmethod(make_core)
    spaces_of = staticmethod(spaces_of)
