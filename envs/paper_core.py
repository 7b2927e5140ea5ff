"""The batch core of `stepsmith/ThreeBodyPaper-v0` (`three_body_paper`): lanes of one compiled kernel, and their
instances."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..integrators import methods
from ..integrators.core import options, record
from ..integrators.kernels.build import Kernel, aligned, lanes_for
from ..integrators.kernels.environment import paper_env
from ..integrators.problems.nbody.three_body_paper import energy, instances
from ..integrators.problems.problem import Batch
from .core import MOST
from .state import Stateful, digest

MUS = np.geomspace(1e-1, 1e-4, 10)
INTERVAL = 0.1  # yr a decision
LARGEST = 0.1  # greatest |dE| told apart, and by default the one that ends an episode
LENGTH_UNIT = 10.0  # positions are observed in units of 10 au
SPEED_UNIT = 2.0 * np.pi * np.sqrt(3.0)  # au/yr: sqrt(G M/R) for 3 solar masses at 1 au
COUNTERS = ("observed", "out", "hidden")


@functools.cache
def _kernel(method: str, n_obs: int) -> Kernel:
    one = instances([0])
    meth = methods.get(method)
    return paper_env.paper_kernel(
        meth.parts(one, frozenset({record.TAU_AMUSE})), one.n, one.m, n_obs, lanes_for(one.n), energy
    )


class PaperCore(Stateful):
    """`lanes` environments in lock-step; buffers as those of `core.Core`, stats with the columns
    `kernels.paper_env.EPISODE`."""

    columns = paper_env.EPISODE

    def __init__(
        self,
        lanes: int,
        same_step: bool,
        steps: int,
        weights: Sequence[float],
        counter: str,
        method: str,
        batch: Batch,
        in_turn: bool,
        energy_limit: float,
    ) -> None:
        lanes, steps = options.count("num_envs", lanes, high=MOST), options.count("steps", steps)
        options.choice("counter", counter, COUNTERS)
        options.choice("method of this environment", method, ("hermite4_pec", "hermite4"))
        # infinity: no energy error ends an episode
        if not (isinstance(energy_limit, float) and energy_limit == np.inf):
            energy_limit = options.positive("energy_limit", energy_limit)
        same_step, in_turn = options.flag("same_step", same_step), options.flag("in_turn", in_turn)
        if isinstance(weights, (str, bytes)) or not np.iterable(weights) or len(w := list(weights)) != 3:
            raise options.refuse("weights", "three finite numbers [W0, 0, W2]", weights)
        w = [options.number("weights", v) for v in w]
        if w[1] != 0.0:
            raise options.refuse("weights", "three finite numbers [W0, 0, W2]", weights)
        self.lanes, self.same_step, self.method, self.batch, self.counter = (
            lanes,
            bool(same_step),
            method,
            batch,
            counter,
        )
        self._made = {
            "lanes": lanes,
            "same_step": same_step,
            "steps": steps,
            "weights": weights,
            "counter": counter,
            "method": method,
            "batch": batch,
            "in_turn": in_turn,
            "energy_limit": energy_limit,
        }
        self.n_obs = batch.n + (2 if counter == "observed" else 1)
        self.kernel = _kernel(method, self.n_obs)
        blocks = -(-lanes // self.kernel.width)
        self._blocks = aligned(blocks * self.kernel.layout.size).reshape(blocks, -1)
        self._work = aligned(self.kernel.layout.size)
        harmonic = steps / np.sum(1.0 / np.arange(1, steps + 1)) if counter == "out" else 0.0
        values = [
            w[0],
            w[2],
            harmonic,
            steps,
            same_step,
            energy_limit,
            INTERVAL,
            LENGTH_UNIT,
            SPEED_UNIT,
            LARGEST,
            in_turn,
        ]
        self.settings = np.array(values, dtype=np.float64)
        self.keys = np.zeros(lanes, np.uint64)
        self.episodes = np.zeros(lanes, np.int64)
        self._args = (batch.y0, batch.p, MUS, self.settings, self.keys, self.episodes)
        self.obs = np.zeros((lanes, self.n_obs), np.float32)
        self.final_obs = np.zeros_like(self.obs)
        self.reward = np.zeros(lanes, np.float32)
        self.durations = np.zeros(lanes)
        self.terminated = np.zeros(lanes, np.bool_)
        self.truncated = np.zeros(lanes, np.bool_)
        self.stats = np.zeros((lanes, len(self.columns)))
        self.ended = np.zeros(lanes, np.int64)
        self._started = False

    def _about(self) -> dict[str, Any]:
        batch = self.batch
        about = {
            "method": self.method, "counter": self.counter, "instances": len(batch), "same_step": self.same_step,
            "instances' values": digest(batch.y0, batch.p), "settings": self.settings.tolist(),
        }  # fmt: skip
        # where lanes play instances in turn, which comes next depends on the lane
        return {**about, "lanes": self.lanes} if self._made["in_turn"] else about

    def _computed(self) -> dict[str, float]:
        return {}

    @property
    def settings_view(self) -> np.ndarray:
        """(0,): nothing changes between steps."""
        return self.settings[:0]

    def seed(self, keys: np.ndarray, mask: Any = True) -> None:
        """Give lanes (all, or those of a bool mask) their generator's key, of keys (lanes,) uint64, and start their
        count of episodes anew."""
        self.keys[:] = np.where(mask, keys, self.keys)
        self.episodes[:] = np.where(mask, 0, self.episodes)

    def reset(self, mask: np.ndarray | None = None) -> np.ndarray:
        """Start a new episode in the lanes of `mask` (all by default); returns the observations, a view of `obs`."""
        mask = np.ones(self.lanes, np.bool_) if mask is None else mask
        if not self._started and not np.all(mask):
            raise ValueError("the first reset must cover every lane")
        self._started = True
        self.kernel.module.env_reset(self._blocks, self.lanes, mask, *self._args, self.obs)
        return self.obs

    def step(self, actions: np.ndarray) -> int:
        """Carry out `actions` (lanes,) whole numbers in 0..9 and fill the buffers; returns how many episodes ended."""
        if not self._started:
            raise RuntimeError("reset() must be called before step()")
        actions = np.ascontiguousarray(actions)
        if actions.shape != (self.lanes,) or actions.dtype.kind not in "iu":
            raise ValueError(
                f"actions must be whole numbers of shape ({self.lanes},), got {actions.dtype} of shape {actions.shape}"
            )
        if actions.min() < 0 or actions.max() >= len(MUS):
            raise ValueError(f"actions must be in 0..{len(MUS) - 1}, got {actions.min()}..{actions.max()}")
        return self.kernel.module.env_step(
            self._blocks,
            self._work,
            self.lanes,
            actions.astype(np.int64),
            *self._args,
            self.obs,
            self.reward,
            self.durations,
            self.terminated,
            self.truncated,
            self.final_obs,
            self.stats,
            self.ended,
        )

    def rows(self, name: str, count: int = 1) -> np.ndarray:
        """Rows of the kernel's block by name, one column a lane: (count, lanes).  For rendering and tests."""
        w = self.kernel.width
        at = self.kernel.layout.rows[name]
        return np.concatenate([b.reshape(-1, w)[at : at + count] for b in self._blocks], axis=1)[:, : self.lanes]

    def waiting(self, lane: int) -> bool:
        """Whether the lane's episode is over and its next one has not begun."""
        return bool(self.rows("PAID")[0, lane] == 1.0)

    def snapshot(self, lane: int) -> np.ndarray:
        """For pictures: time, Hermite steps so far, 1.0, and the state."""
        return np.concatenate(
            [[self.rows("T")[0, lane], self.rows("NSTEPS")[0, lane], 1.0], self.rows("Y", self.batch.n)[:, lane]]
        )

    def episode(self, lane: int) -> dict[str, float]:
        """Statistics of the episode that has just ended in `lane`."""
        return dict(zip(self.columns, self.stats[lane].tolist(), strict=True))
