"""`stepsmith/SDE-v0`: choose the step size inside a solver of stochastic differential equations.

`SDEEnv` says what is observed, done and paid; `make_core` builds what an environment's arguments describe.
"""

from __future__ import annotations

from ..faces import Native, Single
from ..ode import spaces_of
from .core import SDECore, make_core

__all__ = ["SDECore", "SDEEnv", "SDEVectorEnv", "make_core", "spaces_of"]


class SDEEnv(Single):
    """
    ## Description

    A solver follows one path of a stochastic differential equation, and the agent chooses its step size.  A step of the
    environment carries out the decision on the last attempted step (accept or reject it, and a size for the next one),
    and makes the next attempt.  An episode is one path of one instance of a family, at a relative tolerance of its own.
    The path is a function of time (`solve_sde` with source="tree"), so that its error is known.

    ## Action Space

    `Box(-1, 1, (n_act,), float32)`, as that of `stepsmith/ODE-v0`: action 0 is a residual on the logarithm of the
    factor that the base law proposes, action 1 changes the scaled error up to which an attempt is accepted.  Zero is
    the decision of the base law, bit for bit.  An action that is not finite or lies outside is answered by the law, and
    counted.

    ## Observation Space

    `Box(low, high, (n_obs,), float32)`: the features of the last attempt that `features` names, as those of
    `stepsmith/ODE-v0`; the default is tier 1 (`controllers.learned.observation.TIER1`).

    ## Rewards

    Work w is the number of evaluations of drift and diffusion.  The error e is that of the state at the end of the
    span, in root mean square over the components, each relative to its own root mean square over the instance's paths;
    w_base(e) is the baseline law's work at that error, the geometric mean over the instance's paths of both.

    | reward | an attempt | the end |
    |---|---|---|
    | "matched" | -(log w' - log w) | log w_base(e) - log w_start: the sum is log(w_base(e)/w) |
    | "matched_end" | nothing | log(w_base(e)/w) |
    | "constraint" | -(w' - w)/w_base(tol) | minus `lagrange` times the decades of e above e_base(tol) |

    A path that fails pays `fail` on top.

    ## Starting State

    A path of the pool, drawn uniformly, and a relative tolerance drawn log-uniformly from `rtol`.

    ## Episode End

    The episode terminates when the end of the span is reached, or when the solver fails.  It is truncated after
    `max_attempts` attempts.  `info["stepsmith"]` then holds its statistics (`kernels.environment.places.EPISODE`; nfev
    is the work).

    ## Arguments

    Those of `make_core`, which says what they are, all by name.

    ```python
    >>> import gymnasium as gym
    >>> import stepsmith
    >>> env = gym.make("stepsmith/SDE-v0", family="gbm", reward="matched")
    ```

    ## Version History

    * v0: Initial version
    """

    metadata = {"render_modes": []}
    make = staticmethod(make_core)
    spaces_of = staticmethod(spaces_of)


class SDEVectorEnv(Native):
    """`num_envs` lanes of what `SDEEnv` describes as a native vector environment.

    Its arguments are those of `make_core`, all by name, and those of `faces.Native`: num_envs, autoreset_mode.
    """

    make = staticmethod(make_core)
    spaces_of = staticmethod(spaces_of)
