"""The batch core of `stepsmith/Regularization-v0`: lanes of trainings, and what their episodes pay."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...controllers.strengths.observation import OFF, ratio_of
from ...integrators.core import options
from ..actions import checked_actions
from ..core import MOST
from ..lane_rows import Layout, Rows
from ..state import Stateful
from .draws import uniform
from .grid import DECISIONS, ITERATIONS, RATIOS, WORST, charged, known, measures, off
from .instances import INSTANCES, SPLITS
from .observe import SETS, SPECTRUM, observe
from .trainings import COUNT, ROW, Trainings

#: statistics of an episode; error: the quality on held-out rows at its end, as a loss; excess: by how many budgets it
#: is worse than that without a penalty; cost: half the f-evaluations of training and half those of a prediction, over
#: those without a penalty; best: the cost of the best constant ratio; spent: f-evaluations of training; nfev: of the
#: prediction
EPISODE = ("return", "length", "error", "excess", "cost", "best", "spent", "nfev", "instance", "nfallback", "failed")
#: how far outside [-1, 1] an action may lie by round-off, and is clipped
NEAR = 1e-6


class TrainingCore(Stateful):
    """`lanes` trainings in lock-step; buffers as those of `envs.core.Core`, stats with the columns `EPISODE`."""

    columns = EPISODE
    n_act = 3

    def __init__(
        self,
        lanes: int,
        same_step: bool,
        split: str,
        lagrange: float,
        fail: float,
        actions: int,
        observe: str,
        pool: int | None,
        against: float | None,
    ) -> None:
        self.lanes, self.same_step = lanes, same_step
        self._made = {
            "lanes": lanes, "same_step": same_step, "split": split, "lagrange": lagrange, "fail": fail,
            "actions": actions, "observe": observe, "pool": pool, "against": against,
        }  # fmt: skip
        numbers = list(SPLITS[split])
        self.numbers = np.array(numbers if pool is None else numbers[:pool])
        self.n_act, self.fail, self.against = actions, fail, known(against)
        self.settings = np.array([lagrange])
        self.kernel = Rows(Layout(ROW, COUNT))
        self._blocks = np.zeros((lanes, COUNT))
        self.keys, self.episodes = np.zeros(lanes, np.uint64), np.zeros(lanes, np.int64)
        self.work = Trainings(self._blocks)
        self.features = SETS[observe]
        self.probes = not SPECTRUM.keys().isdisjoint(self.features)
        self.obs = np.zeros((lanes, len(self.features)), np.float32)
        self.final_obs = np.zeros_like(self.obs)
        self.reward = np.zeros(lanes, np.float32)
        self.terminated, self.truncated = np.zeros(lanes, np.bool_), np.zeros(lanes, np.bool_)
        self.stats, self.ended = np.zeros((lanes, len(EPISODE))), np.zeros(lanes, np.int64)
        self._started = False

    def _about(self) -> dict[str, Any]:
        return {name: value for name, value in self._made.items() if name not in ("lanes", "lagrange")}

    def _computed(self) -> dict[str, float]:
        return {"costs of constant strengths": float(measures()["best"].sum())}

    @property
    def settings_view(self) -> np.ndarray:
        """(1,): the price of a loss of quality."""
        return self.settings

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
        lanes = np.flatnonzero(mask)
        u = uniform(self.keys[lanes], self.episodes[lanes] + 1, 7)
        return self._begin(lanes, self.numbers[(u * len(self.numbers)).astype(np.int64)])

    def begin(self, numbers: np.ndarray) -> np.ndarray:
        """Start the episode of instance numbers[l] in every lane l, whatever the split; returns as `reset`.

        numbers (lanes,): for a policy that is to play every instance once.
        """
        numbers = np.asarray(numbers)
        known = numbers.dtype.kind in "iu" and np.all((numbers >= 0) & (numbers < INSTANCES))
        if numbers.shape != (self.lanes,) or not known:
            raise ValueError(f"numbers must be {self.lanes} instances from 0 to {INSTANCES - 1}, got {numbers!r}")
        self._started = True
        return self._begin(np.arange(self.lanes), numbers)

    def _begin(self, lanes: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        # a warm-up without penalty, of these lanes alone, is what the first observation is of
        part = Trainings(np.zeros((len(lanes), COUNT)))
        part.begin(np.arange(len(lanes)), numbers)
        off(part)
        part.train(ITERATIONS)
        held, quality, _ = part.examine()
        for name, value in (("held", held), ("held0", held), ("held_before", held), ("held_best", held)):
            part[name][:] = value
        part["loss_before"][:], part["quality"][:] = part["loss"], quality
        if self.probes:
            part.probe()
        obs = observe(part, DECISIONS, self.features)
        # all at once, so that a failure in between leaves the lanes as they were
        self._blocks[lanes], self.obs[lanes] = part.block, obs
        self.episodes[lanes] += 1
        return self.obs

    def step(self, actions: np.ndarray) -> int:
        """Carry out `actions` (lanes, n_act) in [-1, 1] and fill the buffers; returns how many episodes ended."""
        if not self._started:
            raise RuntimeError("reset() must be called before step()")
        actions = checked_actions(actions, self.lanes, self.n_act)
        kept = [(a, a.copy()) for a in (self._blocks, self.episodes, self.obs, self.reward, self.terminated)]
        try:
            return self._step(np.asarray(actions, np.float64))
        except BaseException:  # an interrupt too: no lane stands within a decision
            for array, before in kept:
                array[:] = before
            raise

    def _step(self, actions: np.ndarray) -> int:
        """`step` with actions that fit."""
        waiting = self._blocks[:, ROW["over"]] > 0.0
        self.reward[:], self.terminated[:] = 0.0, False
        if waiting.any():
            self.reset(waiting)
        if waiting.all():
            return 0
        lanes = np.flatnonzero(~waiting)
        part = self.work if len(lanes) == self.lanes else Trainings(self._blocks[lanes])
        self._decide(part, actions[lanes])
        reward, done = self._advance(part)
        if part is not self.work:
            self._blocks[lanes] = part.block
        self.obs[lanes] = observe(part, DECISIONS, self.features)
        self.reward[lanes], self.terminated[lanes] = reward, done
        over = lanes[done]
        self._close(over)
        return len(over)

    def _decide(self, part: Trainings, actions: np.ndarray) -> None:
        """Levels from actions: the ratio of E from none to 10, zero is 10^-1/2; that of S from none at zero and below
        to 10; the tolerance's factor from .1 to 10.  One component that is not finite or out of range makes the whole
        action zero."""
        wrong = ~(np.isfinite(actions) & (np.abs(actions) <= 1.0 + NEAR)).all(1)
        actions = np.clip(np.where(wrong[:, None], 0.0, actions), -1.0, 1.0)
        part["level_e"][:] = ratio_of(actions[:, 0])
        part["level_s"][:] = OFF + 3.0 * np.maximum(actions[:, 1], 0.0) if self.n_act > 1 else OFF
        part["level_t"][:] = actions[:, 2] if self.n_act > 2 else 0.0
        part["fallbacks"][:] += wrong

    def _advance(self, part: Trainings) -> tuple[np.ndarray, np.ndarray]:
        """The iterations of a decision: (lanes,) what they pay, and whether the episode is over."""
        numbers = part["instance"].astype(np.int64)
        plain = {name: value[numbers] for name, value in measures().items()}
        spent = part["spent"].copy()
        part["loss_before"][:], part["held_before"][:] = part["loss"], part["held"]
        part["decision"][:] += 1.0
        part.train(ITERATIONS)
        held, quality, nfev = part.examine()
        if self.probes:
            part.probe()
        part["held"][:], part["quality"][:] = held, quality
        part["held_best"][:] = np.fmin(part["held_best"], held)
        failed = part["alive"] == 0.0
        done = failed | (part["decision"] >= DECISIONS)
        excess = (quality - plain["quality"]) / plain["budget"]
        excess = np.where(np.isfinite(excess), excess, WORST + 1.0)
        # the warm-up is part of the training, and is paid for with the first decision
        begun = np.where(part["decision"] == 1.0, 0.0, spent)
        reward = -0.5 * (part["spent"] - begun) / plain["spent"]
        part["cost"][:] -= reward
        # what a failed training leaves out, the decision in which it failed included, costs as much as without a
        # penalty, so that none looks cheap because it failed early
        missing = 0.5 * (DECISIONS + 1.0 - part["decision"]) / (DECISIONS + 1.0)
        last = np.where(failed, 0.5 + missing, 0.5 * nfev / plain["nfev"])
        part["cost"][:] += np.where(done, last, 0.0)
        price = self.settings[0] * (charged(excess) - self.against[1][numbers])
        end = self.against[0][numbers] - last - price - np.where(failed, self.fail, 0.0)
        reward = reward + np.where(done, end, 0.0)
        part["paid"][:] += reward
        part["over"][:] = done
        part["excess"][:], part["last_nfev"][:] = excess, nfev
        return reward, done

    def _close(self, lanes: np.ndarray) -> None:
        """Statistics of the episodes that have ended in `lanes`, which restart at once where they are to."""
        if not len(lanes):
            return
        work = self.work
        numbers = work["instance"][lanes].astype(np.int64)
        found = {
            "return": work["paid"], "length": work["decision"], "error": work["quality"], "excess": work["excess"],
            "cost": work["cost"], "spent": work["spent"], "nfev": work["last_nfev"], "instance": work["instance"],
            "nfallback": work["fallbacks"], "failed": 1.0 - work["alive"],
        }  # fmt: skip
        for k, name in enumerate(EPISODE):
            self.stats[lanes, k] = measures()["best"][numbers] if name == "best" else found[name][lanes]
        self.final_obs[lanes] = self.obs[lanes]
        self.ended[: len(lanes)] = lanes
        if self.same_step:
            mask = np.zeros(self.lanes, np.bool_)
            mask[lanes] = True
            self.reset(mask)

    def waiting(self, lane: int) -> bool:
        """Whether the lane's episode is over and its next one has not begun."""
        return bool(self._blocks[lane, ROW["over"]] > 0.0)

    def snapshot(self, lane: int) -> np.ndarray:
        """The scalars of the lane's training, `trainings.SCALARS`."""
        return self._blocks[lane, : len(ROW)].copy()

    def episode(self, lane: int) -> dict[str, float]:
        """Statistics of the episode that has just ended in `lane`."""
        return dict(zip(EPISODE, self.stats[lane].tolist(), strict=True))


def make_core(
    lanes: int,
    same_step: bool,
    split: str = "train",
    lagrange: float = 0.2,
    fail: float = 1.0,
    actions: int = 3,
    observe: str = "all",
    pool_size: int | None = None,
    against: float | None = None,
) -> TrainingCore:
    """Build the batch core that an environment's arguments describe.

    lanes       number of trainings in lock-step.
    same_step   a finished lane restarts in the call that ended it, instead of the next one.
    split       "train", "validation" or "test": which instances episodes draw from (`instances`).
    lagrange    price of a loss of quality beyond the budget, a budget.
    fail        what a training that fails pays on top.
    actions     1: the strength of E; 2: that of S too; 3: the tolerance too.
    observe     "all" features; those of "training", without the loss on held-out rows, by whose quality it is paid
                either way; those of the "run", which a training loop observes of any solver; or "spectrum", all and
                those of the Jacobian's spectrum (`observe.SPECTRUM`).
    pool_size   how many of the split's instances, the first, are drawn from; None: all.
    against     the constant whose return is zero: a ratio of `grid.RATIOS`; None: the best of each instance. It shifts
                the return of an instance, and changes no policy's rank; a constant that does as the policy does in easy
                and hard instances leaves less noise.

    Raises ValueError on bad values, and ModuleNotFoundError without scikit-learn, whose tables are trained on.
    """
    lanes = options.count("num_envs", lanes, high=MOST)
    options.choice("split", split, SPLITS)
    given = {
        "split": split,
        "lagrange": options.number("lagrange", lagrange, low=0.0),
        "fail": options.number("fail", fail, low=0.0),
        "actions": options.count("actions", actions, high=3),
        "observe": options.choice("observe", observe, SETS),
        "pool_size": options.count("pool_size", pool_size, high=len(SPLITS[split]), none=True),
    }
    if against is not None and options.number("against", against) not in RATIOS:
        raise options.refuse("against", f"None or one of {', '.join(f'{r:g}' for r in RATIOS)}", against)
    given["against"] = against
    same_step = options.flag("same_step", same_step)
    core = TrainingCore(lanes, same_step, **{("pool" if k == "pool_size" else k): v for k, v in given.items()})
    core.recipe = make_core, (lanes, same_step), given
    return core
