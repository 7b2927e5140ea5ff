"""`stepsmith/ThreeBodyPaper-v0`: the environment of a paper on reinforcement learning for three bodies, mended.

The paper is V. Saz Ulibarrena & S. Portegies Zwart (2025), arXiv:2502.12809.  `ThreeBodyPaperEnv` says what is
observed, done and paid.

What was wrong in the original, and is not here:
- reset() re-seeded the global generator, so that training saw one initial condition: every lane has its own generator
  and draws an instance of its pool for every episode;
- the reward depends on n, which was not observed: n/steps is the 14th entry (`counter="observed"`), or n is replaced in
  the reward by the harmonic mean of 1..steps (`counter="out"`); `counter="hidden"` is the original;
- the time limit was treated as an end: it truncates; only |dE| > 0.1 (or a failed integration) terminates;
- the reward has a pole at |dE| = 1 and is no number at dE = 0: |dE| is held within [1e-16, 0.1] there and in the
  observation;
- a run that stopped early vanished from their plots: its statistics, with dE, are reported as any other's.
Not a part of an environment: exploration that restarts in every episode, time spent in the network, a tuned constant as
baseline.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from gymnasium import spaces

from ..integrators.core import options
from ..integrators.problems.nbody.three_body_paper import FAMILY, instances
from ..integrators.problems.problem import Batch
from .faces import Native, Single
from .ode import check_pool
from .paper_core import LARGEST, MUS, PaperCore

__all__ = ["MUS", "PaperCore", "ThreeBodyPaperEnv", "ThreeBodyPaperVectorEnv", "make_core", "spaces_of"]


@functools.cache
def _pool(seeds: tuple[int, ...] | None, size: int, split: str, pool_seed: int) -> Batch:
    return FAMILY.split(split, size, pool_seed) if seeds is None else instances(seeds)


def make_core(
    lanes: int,
    same_step: bool,
    steps: int = 100,
    weights: Sequence[float] = (3000.0, 0.0, 4.0),
    counter: str = "observed",
    method: str = "hermite4_pec",
    seeds: Sequence[int] | None = None,
    in_turn: bool = False,
    pool_size: int = 1000,
    split: str = "train",
    pool_seed: int = 0,
    energy_limit: float = LARGEST,
) -> PaperCore:
    """Build the batch core that an environment's arguments describe.

    lanes         number of environments in lock-step.
    same_step     a finished lane restarts in the call that ended it, instead of the next one.
    steps         decisions an episode; the paper trains with 100 and evaluates with 300.
    weights       (W0, W1, W2) of the reward; W1 must be 0, as in the paper.
    counter       whether the decision's number is "observed", left "out" of the reward, or "hidden" as in the original.
    method        "hermite4_pec", the paper's, or "hermite4".
    seeds         the instances, by the paper's numbers (its evaluation: range(100)); None: `pool_size` instances of
                  `split`, drawn with `pool_seed`.
    in_turn       lane l plays instances l, l + num_envs, ... instead of drawing them.
    energy_limit  relative energy error beyond which an episode terminates; infinity: never.

    Raises ValueError on bad values, and where pool_size, split or pool_seed stand beside seeds.
    """
    check_pool(pool_size, split, pool_seed)
    if seeds is not None:
        if isinstance(seeds, (str, bytes)) or not np.iterable(seeds) or not (numbers := tuple(seeds)):
            raise options.refuse("seeds", "at least one whole number or None", seeds)
        seeds = tuple(options.count("seeds", s, low=0) for s in numbers)
        if (pool_size, split, pool_seed) != (1000, "train", 0):
            raise options.OptionError(
                "pool_size, split and pool_seed have no effect beside seeds, which name the instances"
            )
    batch = _pool(seeds, pool_size, split, pool_seed)
    core = PaperCore(lanes, same_step, steps, weights, counter, method, batch, in_turn, energy_limit)
    core.recipe = (
        make_core,
        (lanes, same_step),
        {
            "steps": steps,
            "weights": weights,
            "counter": counter,
            "method": method,
            "seeds": seeds,
            "in_turn": in_turn,
            "pool_size": pool_size,
            "split": split,
            "pool_seed": pool_seed,
            "energy_limit": energy_limit,
        },
    )
    return core


def spaces_of(core: PaperCore) -> tuple[spaces.Box, spaces.Discrete]:
    """Observation space (positions and velocities are not bounded) and action space of one lane."""
    low, high = np.full(core.n_obs, -np.inf, np.float32), np.full(core.n_obs, np.inf, np.float32)
    n = core.batch.n
    low[n:], high[n:] = (1.0, 0.0)[: core.n_obs - n], (16.0, 1.0)[: core.n_obs - n]
    return spaces.Box(low, high, dtype=np.float32), spaces.Discrete(len(MUS))


class ThreeBodyPaperEnv(Single):
    """
    ## Description

    Three bodies of one solar mass move in the plane without softening, integrated by Hermite's method of order 4 (PEC)
    with a shared step h = mu tau, tau being the time scale of the criterion "amuse".  A decision sets the accuracy
    parameter mu for the next 0.1 yr.  After V. Saz Ulibarrena and S. Portegies Zwart (2025), arXiv:2502.12809, with
    initial conditions of theirs (`integrators/problems/nbody/three_body_paper.py`).

    ## Action Space

    `Discrete(10)`: mu, log-spaced from 1e-1 (action 0) down to 1e-4 (action 9).

    ## Observation Space

    `Box(low, high, (14,), float32)`, or (13,) with a `counter` other than "observed".

    | entries | what they hold | low | high |
    |---|---|---|---|
    | 0-5 | positions of the bodies, x and y, in units of 10 au | -inf | inf |
    | 6-11 | velocities, in units of 1 au, 3 solar masses and G = 1 | -inf | inf |
    | 12 | -log10 of the relative energy error so far, held within [1e-16, 0.1] | 1 | 16 |
    | 13 | number of decisions so far over `steps` | 0 | 1 |

    ## Rewards

    -W0 (log10 e + 10)/(|log10 e|^3 n) + W2/|log10 mu| with e the relative energy error |(E - E0)/E0|, held within
    [1e-16, 0.1], n the decision's number from 1, and `weights` (W0, W1, W2).  With `counter="out"` n is replaced by the
    harmonic mean of 1..`steps`.

    ## Starting State

    An instance of the pool, drawn uniformly (with `in_turn`: the next one), at its initial positions and velocities.
    The energy error is then at its least, 1e-16.

    ## Episode End

    The episode terminates when the energy error exceeds `energy_limit`, or when the integration fails.  It is truncated
    after `steps` decisions.  `info["stepsmith"]` then holds its statistics (`kernels.environment.paper_env.EPISODE`).

    ## Arguments

    Those of `make_core`, which says what they are, all by name, and `render_mode`: None or "rgb_array".

    ```python
    >>> import gymnasium as gym
    >>> import stepsmith
    >>> env = gym.make("stepsmith/ThreeBodyPaper-v0", steps=100, counter="observed")
    ```

    ## Version History

    * v0: Initial version
    """

    make = staticmethod(make_core)
    spaces_of = staticmethod(spaces_of)

    def render(self) -> np.ndarray | None:
        """RGB picture (480, 960, 3), uint8: orbits at the decisions' ends, and the mean step of every decision."""
        if self.render_mode != "rgb_array":
            return None
        from .render import draw

        trace = np.array(self._trace)
        taken = np.diff(trace[:, 1])
        # a decision whose interval the steps before ran over takes none
        mean = np.where(taken > 0, np.diff(trace[:, 0]) / np.maximum(taken, 1), 0.0)
        trace[:, 1] = np.append(mean, 0.0)
        return draw(self.core.batch.nbody, trace, label="mean step in yr", unit="decisions")


class ThreeBodyPaperVectorEnv(Native):
    """`num_envs` lanes of what `ThreeBodyPaperEnv` describes as a native vector environment.

    Its arguments are those of `make_core`, all by name, and those of `faces.Native`: num_envs, autoreset_mode.
    """

    make = staticmethod(make_core)
    spaces_of = staticmethod(spaces_of)
