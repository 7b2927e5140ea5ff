"""`stepsmith/SteadyState-v0`: choose step sizes on the way to a steady state, where only its end counts.

`SteadyStateEnv` says what is observed, done and paid; `make_core` builds what an environment's arguments describe.
"""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from ..faces import Native, Single
from .core import BOUND, FEATURES, SteadyCore, make_core

__all__ = ["SteadyCore", "SteadyStateEnv", "SteadyStateVectorEnv", "make_core", "spaces_of"]


def spaces_of(core: SteadyCore) -> tuple[spaces.Box, spaces.Box]:
    """Observation space and action space of one lane."""
    return (
        spaces.Box(-BOUND, BOUND, (len(FEATURES),), np.float32), spaces.Box(-1.0, 1.0, (core.n_act,), np.float32),
    )  # fmt: skip


class SteadyStateEnv(Single):
    """
    ## Description

    A steady state z = f(z, x) is found by integrating dz/dt = f(z, x) - z until the slope is small, as the forward pass
    of a continuous deep equilibrium model does (A. Pal, A. Edelman, C. Rackauckas, arXiv:2201.12240) and
    `stepsmith.neural.steady_state`.  Accuracy on the way is worth nothing: the best step is as large as stability
    allows, or larger where that pays.  A step of the environment is one attempt of Tsit5.

    ## Action Space

    `Box(-1, 1, (1,), float32)`: the size of the next attempt is 4^action times that of the last one (after a rejection,
    times what that was cut to), within 1e-4 and 1e4.  An action that is not finite or lies outside by more than 1e-6 is
    answered as zero, and counted (`nfallback`); within 1e-6 it is clipped.

    An attempt is accepted, whatever its error, unless the new state or the slope there is not finite, or the slope is
    more than 10 times as large as before.  It is then rejected, and the size is cut to a quarter.

    ## Observation Space

    `Box(-5, 5, (15,), float32)`: logarithms of ratios and shares, `core.FEATURES`.

    ## Rewards

    Minus the f-evaluations of the attempt over those that `steady_state` with its law "pi34" needs from the same start
    (`kernel.solve_by_law`), so that a return of -1 is as good as that.  The evaluation of the first slope is paid with
    the first attempt.  A solve that diverges pays 1, for it has to be done again, and `fail` on top.

    ## Starting State

    An instance of the split, drawn uniformly, and a state whose components are normal numbers times 2 (`instances`,
    `kernel.draw_start`).

    ## Episode End

    The episode terminates when max |f - z| <= tol (1 + max |z|), or when max |z| exceeds 1e8 times what the state and
    the slope were at the start (it diverged).  It is truncated after `max_attempts` attempts.  `info["stepsmith"]` then
    holds its statistics (`core.EPISODE`).

    ## Arguments

    Those of `make_core`, which says what they are, all by name.

    ```python
    >>> import gymnasium as gym
    >>> import stepsmith
    >>> env = gym.make("stepsmith/SteadyState-v0", split="train")
    ```

    ## Version History

    * v0: Initial version
    """

    metadata = {"render_modes": []}
    make = staticmethod(make_core)
    spaces_of = staticmethod(spaces_of)


class SteadyStateVectorEnv(Native):
    """`num_envs` lanes of what `SteadyStateEnv` describes as a native vector environment.

    Its arguments are those of `make_core`, all by name, and those of `faces.Native`: num_envs, autoreset_mode.
    """

    make = staticmethod(make_core)
    spaces_of = staticmethod(spaces_of)
