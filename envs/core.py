"""The batch core behind every environment: lanes of one compiled kernel, their instances, actions in, observations out.

Single environment, native vector environment and the Stable-Baselines3 adapter are three faces of a `Core`; the single
one is a core with one lane of the same kernel, so its numbers are the vector's to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..integrators import methods
from ..integrators.checks import rhs_check, second_order
from ..integrators.compile.cache import compiled_together
from ..integrators.compile.digest import identity
from ..integrators.compile.unrolled import unrolled
from ..integrators.core import options
from ..integrators.engine.explained import explained
from ..integrators.engine.solve import check_controller, slots_of
from ..integrators.kernels.build import Kernel, aligned, lanes_for
from ..integrators.kernels.environment import env as kernel_env
from ..integrators.kernels.environment import places, rewards, series_rows
from ..integrators.methods.tableaus import ExplicitTableau
from .actions import checked_actions
from .pool import ERROR_GRID, Pool
from .state import Stateful, digest, total

_KERNELS: dict[tuple, Kernel] = {}
MOST = 10_000_000  # lanes, and instances of a pool: more is a mistake, and would only fail once memory is used up


@dataclass(frozen=True)
class Reward:
    """What an environment pays.

    kind           "matched": the matched-error return.
                   "matched_end": the same, paid at the end; with neither discount nor bootstrapping it has far less
                   variance.
                   "constraint": work, with an error constraint at the multiplier `lagrange`.
                   "propagated": progress, work and what every local error becomes at the end, all paid at once; with
                   `lagrange` 1 it weighs work and error alike.
                   Or the name of a registered reward.
    lagrange       price of the error, where the kind has one.
    fail           extra cost of a trajectory that does not reach its end.
    time_discount  discount per span of physical time; 1 for none.
    window         cost a decade of leaving the baseline's error at the same tolerance by more than a decade.

    Raises ValueError on unknown kinds, on values out of range, and on a `lagrange`, `window` or `fail` other than the
    default where the kind does not use it.
    """

    kind: str = "matched"
    lagrange: float = 1.0
    fail: float = 1.0
    time_discount: float = 1.0
    window: float = 0.0

    def __post_init__(self) -> None:
        options.choice("reward", self.kind, rewards.RULES)
        for name in ("lagrange", "fail", "window"):
            object.__setattr__(self, name, options.number(name, getattr(self, name), low=0.0))
        discount = options.number("time_discount", self.time_discount, above=0.0, high=1.0)
        object.__setattr__(self, "time_discount", discount)
        rule = rewards.rule(self.kind)
        unused = f"has no effect on the reward {self.kind!r}"
        if self.window > 0 and not rule.banded:
            raise options.OptionError(f"window {unused}, which prices the error itself")
        if self.fail != 1.0 and not rule.charged:
            raise options.OptionError(f"fail {unused}, whose own `end` says what a failure costs")
        if self.lagrange != 1.0 and not rule.priced:
            raise options.OptionError(f"lagrange {unused}: only 'constraint' and 'propagated' use it")

    @property
    def priced(self) -> bool:
        """Whether `lagrange` is a part of it."""
        return rewards.rule(self.kind).priced

    @property
    def followed(self) -> bool:
        """Whether it needs a pool's `followed`."""
        return rewards.rule(self.kind).followed


@dataclass(frozen=True)
class Series:
    """Solves in series: the instances of a pool, training by training, and what is decided beside the attempts.

    following (I,) int64   the next instance of the same training, -1 behind its last.
    firsts (T,) int64      the first instance of every training.
    actions                1: the controller's own one alone; 2: the first size of a solve too; 3: and how evenly what
                           is left of the span is divided (`kernels.environment.series`).
    """

    following: np.ndarray
    firsts: np.ndarray
    actions: int


def _kernel(
    pool: Pool, method: str | ExplicitTableau, decision: Any, rule: rewards.RewardRule, actions: int
) -> Kernel:
    meth, batch = methods.get(method), unrolled(pool.batch)
    check_controller(decision, meth, batch)
    slots = slots_of(decision)
    fam = pool.family
    components = tuple(range(fam.n)) if fam.components is None else tuple(fam.components)
    invariant = batch.invariants.get("energy") if fam.error == "energy" else None
    reward = tuple(identity(fn) for fn in rule.objects().values()) if rule.own else rule.name
    energy = None if invariant is None else identity(invariant)
    second_order.check(pool.batch, meth)
    key = (meth.name, meth.key(batch), fam.n, fam.m, decision.key, decision.law.known, decision.n_state, slots,
           fam.error, components, fam.floor, reward, energy, actions)  # fmt: skip
    if key not in _KERNELS:
        rhs_check.check(batch, meth, (invariant,) if invariant is not None else ())
        _KERNELS[key] = kernel_env.env_kernel(
            meth.parts(batch, slots), fam.n, fam.m, decision, lanes_for(fam.n), fam.error, components, rule,
            invariant, meth.tableau, fam.floor, actions,
        )  # fmt: skip
    return _KERNELS[key]


#: where the costs of linear algebra stand in `consts`
COSTS = [places.CONST_JACOBIAN, places.CONST_LU, places.CONST_SOLVE]


def _consts(pool: Pool, reward: Reward, max_attempts: int, same_step: bool) -> np.ndarray:
    """The kernel's `consts`, by the names of `places`."""
    consts = np.zeros(len(places.CONSTS))
    consts[places.CONST_SAME_STEP] = same_step
    consts[places.CONST_LAGRANGE] = reward.lagrange
    consts[places.CONST_FAIL] = reward.fail
    consts[places.CONST_LOG_DISCOUNT] = np.log(reward.time_discount)
    consts[places.CONST_MAX_ATTEMPTS] = max_attempts
    consts[places.CONST_ATOL_FACTOR] = pool.family.atol_factor
    consts[places.CONST_WINDOW] = reward.window
    consts[COSTS] = pool.costs.jacobian, pool.costs.lu, pool.costs.solve
    return consts


def _arrays(
    pool: Pool,
    span: np.ndarray,
    consts: np.ndarray,
    keys: np.ndarray,
    episodes: np.ndarray,
    rule: rewards.RewardRule,
    series: Series | None,
) -> tuple[np.ndarray, ...]:
    """What the kernel's `env_reset` and `env_step` are called with of the pool, in their order
    (`environment.entries`)."""
    batch, n, count = pool.batch, pool.family.n, len(pool.batch)
    grid = np.zeros(len(places.GRID))
    grid[places.GRID_ERROR_FIRST], grid[places.GRID_ERROR_STEP] = ERROR_GRID[0], ERROR_GRID[1] - ERROR_GRID[0]
    grid[places.GRID_RTOL_FIRST] = pool.log_rtol[0]
    grid[places.GRID_RTOL_STEP] = pool.log_rtol[1] - pool.log_rtol[0] if len(pool.log_rtol) > 1 else 1.0
    followed: tuple[np.ndarray, ...] = np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 0)), np.zeros(0)
    if rule.followed:
        assert pool.arrivals is not None  # or the core has refused the pool
        followed = pool.arrivals.first, pool.arrivals.time, pool.arrivals.matrix, pool.price
    none = np.zeros(0, np.int64)
    order = (none, none) if series is None else (series.following, series.firsts)
    return (
        batch.y0, batch.p, batch.t0, batch.t1, np.ones(count), np.ones((count, n)), np.full(count, np.nan), pool.tgrid,
        pool.ref, np.zeros((1, 1, n)), pool.table, pool.at_tol, grid, span, consts, keys, episodes, *followed, *order,
    )  # fmt: skip


class Core(Stateful):
    """`lanes` environments in lock-step.

    pool, method, decision   the instances, the method that integrates them, and what observes and decides.
    reward                   what is paid.
    span                     (instances, 2): the range of the logarithm of an instance's relative tolerance.
    max_attempts             attempts after which an episode is cut.
    same_step                a finished lane restarts within the call that ended it, and its last observation is in
                             `final_obs`; otherwise it restarts in the next call, whose action it ignores.

    Buffers are owned by the core and overwritten by every call:

    obs, final_obs           (lanes, n_obs) float32.
    reward                   (lanes,) float32.
    durations                (lanes,) float64: time that the last decision covers, as a share of the episode's span; 0
                             where the attempt was rejected or failed.  Not a part of a state: it decides nothing.
    terminated, truncated    (lanes,) bool.
    stats                    (lanes, k) float64, with the columns `kernels.environment.env.EPISODE`; valid where an
                             episode has just ended.
    ended                    (lanes,) int64: its first entries, as many as the last call returned, are the lanes whose
                             episode ended.

    `get_state` and `set_state`: see `state.Stateful`.
    """

    def __init__(
        self,
        pool: Pool,
        method: str | ExplicitTableau,
        decision: Any,
        lanes: int,
        reward: Reward,
        span: np.ndarray,
        max_attempts: int,
        same_step: bool,
        series: Series | None = None,
    ) -> None:
        lanes = options.count("num_envs", lanes, high=MOST)
        if not isinstance(reward, Reward):
            raise options.refuse("reward", "a Reward", reward)
        if span.shape != (len(pool.batch), 2) or not np.isfinite(span).all():
            raise ValueError(f"span must hold finite log tolerances, ({len(pool.batch)}, 2), got shape {span.shape}")
        max_attempts, same_step = options.count("max_attempts", max_attempts), options.flag("same_step", same_step)
        self.pool, self.decision, self.lanes, self.method, self.same_step = pool, decision, lanes, method, same_step
        self.rule, self.priced = reward, reward.priced
        self._made = {"pool": pool, "method": method, "decision": decision, "lanes": lanes, "reward": reward,
                      "span": span, "max_attempts": max_attempts, "same_step": same_step, "series": series}  # fmt: skip
        rule = rewards.rule(reward.kind)
        if rule.followed and pool.arrivals is None:
            raise ValueError(f"reward {rule.name!r} needs a pool's `followed`")
        actions = 0 if series is None else series.actions
        self.n_act = decision.n_act + max(actions - 1, 0)
        self.n_obs = decision.n_obs + (len(series_rows.MORE_NAMES) if actions else 0)
        self.kernel = _kernel(pool, method, decision, rule, actions)
        blocks = -(-lanes // self.kernel.width)
        self._blocks = aligned(blocks * self.kernel.layout.size).reshape(blocks, -1)
        self.keys = np.zeros(lanes, np.uint64)
        self.episodes = np.zeros(lanes, np.int64)
        # the decision on the first size is no attempt
        self.consts = _consts(pool, reward, max_attempts + (actions > 1), same_step)
        self._pool = _arrays(pool, span, self.consts, self.keys, self.episodes, rule, series)
        self._params = np.ascontiguousarray(decision.params, dtype=np.float64)
        self.obs = np.zeros((lanes, self.n_obs), np.float32)
        self.final_obs = np.zeros_like(self.obs)
        self.reward = np.zeros(lanes, np.float32)
        self.durations = np.zeros(lanes)
        self.terminated = np.zeros(lanes, np.bool_)
        self.truncated = np.zeros(lanes, np.bool_)
        self.stats = np.zeros((lanes, len(kernel_env.EPISODE)))
        self.ended = np.zeros(lanes, np.int64)
        self._started = False

    columns = kernel_env.EPISODE

    def _about(self) -> dict[str, Any]:
        batch, reward = self.pool.batch, self.rule
        meth = methods.get(self.method)
        rule = {k: getattr(reward, k) for k in ("kind", "fail", "time_discount", "window")}
        rule |= {name: identity(fn) for name, fn in rewards.rule(reward.kind).objects().items()}
        series = self._made["series"]
        order = {} if series is None else {
            "trainings": digest(series.following, series.firsts), "actions": series.actions
        }  # fmt: skip
        return {
            **order, "family": self.pool.family.name, "method": meth.name, "decision": repr(self.decision),
            "decision's parameters": digest(self.decision.key, self._params), "instances": len(batch),
            "instances' values": digest(batch.y0, batch.p, batch.t0, batch.t1), "reward": rule,
            "max_attempts": float(self._made["max_attempts"]), "same_step": self.same_step,
        }  # fmt: skip

    def _computed(self) -> dict[str, float]:
        pool = self.pool
        return {
            "tolerances": total(self._made["span"]), "costs": total(self.consts[COSTS]), "references": total(pool.ref),
            "baseline's work": total(pool.at_tol[0]) + total(pool.table), "baseline's errors": total(pool.at_tol[1]),
        }  # fmt: skip

    @property
    def settings_view(self) -> np.ndarray:
        """(1,): the constraint's multiplier."""
        return self.consts[places.CONST_LAGRANGE : places.CONST_LAGRANGE + 1]

    def seed(self, keys: np.ndarray, mask: Any = True) -> None:
        """Give lanes (all, or those of a bool mask) their generator's key, of keys (lanes,) uint64, and start their
        count of episodes anew."""
        self.keys[:] = np.where(mask, keys, self.keys)
        self.episodes[:] = np.where(mask, 0, self.episodes)

    def reset(self, mask: np.ndarray | None = None) -> np.ndarray:
        """Start a new episode in the lanes of `mask` (all by default); returns the observations, a view of `obs`."""
        if mask is None or not self._started:
            if mask is not None and not np.all(mask):
                raise ValueError("the first reset must cover every lane")
            mask = np.ones(self.lanes, np.bool_)
        reset = self._blocks, self.lanes, self._params, mask, *self._pool, self.obs
        try:
            if not self._started:
                acted = np.zeros((self.lanes, self.n_act), np.float32)
                calls = {self.kernel.module.env_reset: reset, self.kernel.module.env_step: self._step_arguments(acted)}
                compiled_together(calls, f"{methods.get(self.method).name} for environments of {self.pool.family.name}")
            self._started = True
            self.kernel.module.env_reset(*reset)
        except Exception as error:  # the compiler's, at the first call
            raise explained(error, self.pool.batch) from None
        return self.obs

    def step(self, actions: np.ndarray) -> int:
        """Carry out `actions` (lanes, n_act) and fill the buffers; returns how many episodes ended.

        Actions are real numbers in [-1, 1], taken as float32.  One that is not finite or lies outside is answered by
        the law and counted (`nfallback`); a wrong shape, or what holds no real numbers, is a ValueError.
        """
        if not self._started:
            raise RuntimeError("reset() must be called before step()")
        actions = checked_actions(actions, self.lanes, self.n_act)
        if actions.dtype != np.float32:
            with np.errstate(over="ignore"):  # beyond float32 is beyond 1
                actions = actions.astype(np.float32)
        return self.kernel.module.env_step(*self._step_arguments(actions))

    def _step_arguments(self, actions: np.ndarray) -> tuple[Any, ...]:
        return (
            self._blocks, self.lanes, self._params, actions, *self._pool, self.obs, self.reward, self.durations,
            self.terminated, self.truncated, self.final_obs, self.stats, self.ended,
        )  # fmt: skip

    def rows(self, name: str, count: int = 1) -> np.ndarray:
        """Rows of the kernel's block by name, one column a lane: (count, lanes).  For rendering and tests."""
        w = self.kernel.width
        at = self.kernel.layout.rows[name]
        cols = [b.reshape(-1, w)[at : at + count] for b in self._blocks]
        return np.concatenate(cols, axis=1)[:, : self.lanes]

    def waiting(self, lane: int) -> bool:
        """Whether the lane's episode is over and its next one has not begun."""
        return bool(self.rows("PAID")[0, lane] == 1.0)

    def snapshot(self, lane: int) -> np.ndarray:
        """For pictures: time, size of the pending attempt, 1 where the last one was accepted, and the state."""
        keep = [self.rows(name)[0, lane] for name in ("T", "HS", "ACC")]
        return np.concatenate([keep, self.rows("Y", self.pool.family.n)[:, lane]])

    def episode(self, lane: int) -> dict[str, float]:
        """Statistics of the episode that has just ended in `lane`."""
        return dict(zip(kernel_env.EPISODE, self.stats[lane].tolist(), strict=True))
