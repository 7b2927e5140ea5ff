"""The batch core of `stepsmith/SteadyState-v0`: lanes of solves to a steady state, and what their episodes pay."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...integrators.core import options
from ..actions import checked_actions
from ..core import MOST
from ..lane_rows import Layout, Rows
from ..state import Stateful, total
from . import build, places
from .instances import SPLITS, fields

#: statistics of an episode, in the order of the places E_*; error: the slope over what it had to fall to; baseline: the
#: f-evaluations that the law of `steady_state` takes from the same start; slope: its largest component; failed: 1 where
#: the state diverged; status: 1 arrived, 0 cut, -5 diverged
EPISODE = (
    "return", "length", "error", "nfev", "baseline", "nreject", "slope", "failed", "status", "instance", "nfallback",
)  # fmt: skip
#: what is observed, in the order of `kernel.observe`.  slope: its largest component; target: what it has to fall to; h:
#: the size that the action is a factor of; h-: that of the last attempt; S, error and move: the stiffness estimate of
#: the last attempt, its error estimate and h- times its first slope; S-: that of the attempt before; radius: the
#: largest S of late, which fades by a tenth an attempt
FEATURES = (
    "log10 slope / target", "log of the last attempt's slopes", "log of the last but one attempt's slopes", "log h S",
    "log h- S", "log h S-", "log h radius", "log10 scaled error", "1 + log10 error / move", "log h- / size before it",
    "rejected", "log10 h", "cosine of the last attempt's slopes", "share of the way", "share of the attempts",
)  # fmt: skip
#: what is observed lies within
BOUND = 5.0
#: how far outside [-1, 1] an action may lie by round-off, and is clipped
NEAR = 1e-6


#: the numbers of a lane's row by name, in lower case
ROW = {
    name.removeprefix("R_").lower(): place
    for name, place in vars(places).items()
    if name.startswith("R_") and name not in ("R_Z", "R_K")
}


class SteadyCore(Stateful):
    """`lanes` solves in lock-step; buffers as those of `envs.core.Core`, stats with the columns `EPISODE`."""

    columns = EPISODE
    n_act = 1

    def __init__(
        self,
        lanes: int,
        same_step: bool,
        split: str,
        tol: float,
        first_step: float,
        fail: float,
        max_attempts: int,
        pool: int | None,
    ) -> None:
        self.lanes, self.same_step = lanes, same_step
        self._made = {
            "lanes": lanes, "same_step": same_step, "split": split, "tol": tol, "first_step": first_step, "fail": fail,
            "max_attempts": max_attempts, "pool": pool,
        }  # fmt: skip
        self.fields = fields(split, len(SPLITS[split]) if pool is None else pool)
        self.settings = np.zeros(places.CONST_COUNT)
        self.settings[places.C_FAIL], self.settings[places.C_TOL] = fail, tol
        self.settings[places.C_FIRST], self.settings[places.C_MOST] = first_step, max_attempts
        self.settings[places.C_SAME_STEP], self.settings[places.C_NUMBER] = same_step, SPLITS[split][0]
        law = build.law()
        one, weights = self.fields, build.coefficients()
        self._arrays = (one.w1, one.b, one.w2, one.c, *weights, self.settings, law.params, np.zeros(law.n_state))
        self.module = build.module()
        self.kernel = Rows(Layout({**ROW, "z": places.R_Z, "k": places.R_K}, places.ROW_COUNT))
        self._blocks = np.zeros((lanes, places.ROW_COUNT))
        self.keys, self.episodes = np.zeros(lanes, np.uint64), np.zeros(lanes, np.int64)
        self.obs = np.zeros((lanes, len(FEATURES)), np.float32)
        self.final_obs = np.zeros_like(self.obs)
        self.reward = np.zeros(lanes, np.float32)
        self.terminated, self.truncated = np.zeros(lanes, np.bool_), np.zeros(lanes, np.bool_)
        self.stats, self.ended = np.zeros((lanes, len(EPISODE))), np.zeros(lanes, np.int64)
        self._started = False

    def _about(self) -> dict[str, Any]:
        return {name: value for name, value in self._made.items() if name != "lanes"}

    def _computed(self) -> dict[str, float]:
        one = self.fields
        return {"fields": sum(total(array) for array in (one.w1, one.b, one.w2, one.c))}

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
        self.module.reset_lanes(self._blocks, mask, self.keys, self.episodes, *self._arrays, self.obs)
        return self.obs

    def step(self, actions: np.ndarray) -> int:
        """Carry out `actions` (lanes, 1) in [-1, 1] and fill the buffers; returns how many episodes ended."""
        if not self._started:
            raise RuntimeError("reset() must be called before step()")
        actions = checked_actions(actions, self.lanes, self.n_act)
        given = actions[:, 0].astype(np.float64)
        wrong = ~(np.abs(given) <= 1.0 + NEAR)
        given = np.clip(np.where(wrong, 0.0, given), -1.0, 1.0)
        return self.module.step_lanes(
            self._blocks, self.keys, self.episodes, *self._arrays, self.obs, given, wrong, self.reward,
            self.terminated, self.truncated, self.final_obs, self.stats, self.ended,
        )  # fmt: skip

    def rows(self, name: str) -> np.ndarray:
        """A number of every lane by its name in `ROW`, a view (lanes,)."""
        return self._blocks[:, ROW[name]]

    @property
    def states(self) -> np.ndarray:
        """The lanes' states, a view (lanes, WIDTH)."""
        return self._blocks[:, places.R_Z : places.R_Z + places.WIDTH]

    def waiting(self, lane: int) -> bool:
        """Whether the lane's episode is over and its next one has not begun."""
        return bool(self._blocks[lane, places.R_OVER] > 0.0)

    def snapshot(self, lane: int) -> np.ndarray:
        """The numbers of the lane, `ROW`."""
        return self._blocks[lane, : len(ROW)].copy()

    def episode(self, lane: int) -> dict[str, float]:
        """Statistics of the episode that has just ended in `lane`."""
        return dict(zip(EPISODE, self.stats[lane].tolist(), strict=True))


def make_core(
    lanes: int,
    same_step: bool,
    split: str = "train",
    tol: float = 1e-3,
    first_step: float = 1.0,
    fail: float = 1.0,
    max_attempts: int = 1000,
    pool_size: int | None = None,
) -> SteadyCore:
    """Build the batch core that an environment's arguments describe.

    lanes       number of solves in lock-step.
    same_step   a finished lane restarts in the call that ended it, instead of the next one.
    split       "train", "validation" or "test": which instances episodes draw from (`instances`).
    tol         rtol and atol of the steady state, from 1e-10 to 1e-2: it has arrived where max |f - z| <= tol (1 + max
                |z|).
    first_step  the size that the first action is a factor of, from 1e-4 to 1e4.
    fail        what a solve that diverges pays on top.
    max_attempts
                attempts after which an episode is truncated.
    pool_size   how many of the split's instances, the first, are drawn from; None: all.

    Raises ValueError on bad values.
    """
    lanes = options.count("num_envs", lanes, high=MOST)
    options.choice("split", split, SPLITS)
    given = {
        "split": split,
        "tol": options.number("tol", tol, low=1e-10, high=1e-2),
        "first_step": options.number("first_step", first_step, low=1e-4, high=1e4),
        "fail": options.number("fail", fail, low=0.0),
        "max_attempts": options.count("max_attempts", max_attempts, high=1_000_000),
        "pool_size": options.count("pool_size", pool_size, high=len(SPLITS[split]), none=True),
    }
    same_step = options.flag("same_step", same_step)
    core = SteadyCore(lanes, same_step, **{("pool" if k == "pool_size" else k): v for k, v in given.items()})
    core.recipe = make_core, (lanes, same_step), given
    return core
