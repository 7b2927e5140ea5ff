"""The batch core of `stepsmith/SDE-v0`: lanes of paths, and what their episodes pay."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...controllers import resolve
from ...controllers.laws.law import Law
from ...controllers.learned.actions import SETS
from ...controllers.learned.decision import Decision
from ...controllers.learned.observation import TIER1
from ...integrators.compile.digest import identity
from ...integrators.core import options
from ...integrators.engine.explained import explained
from ...integrators.engine.sde import ROLES, check_law, prepared_parts, rows_of
from ...integrators.engine.sde_checks import check_noise
from ...integrators.kernels.environment import places
from ...integrators.kernels.sde import build
from ...integrators.methods import sde as methods
from ...integrators.problems import sde as families
from ...integrators.problems.sde.family import SPLITS, SDEFamily
from ..actions import checked_actions
from ..core import MOST
from ..lane_rows import Layout, Rows
from ..ode import law_of, tolerances_of
from ..pool import ERROR_GRID
from ..state import Stateful, digest, total
from .pool import SDEPool, make_pool

_KERNELS: dict[tuple, Any] = {}


class SDECore(Stateful):
    """`lanes` paths in lock-step; buffers as those of `envs.core.Core`."""

    columns = places.EPISODE

    def __init__(
        self, pool: SDEPool, decision: Decision, lanes: int, reward: str, lagrange: float, fail: float,
        span: np.ndarray, max_attempts: int, same_step: bool, atol_factor: float,
    ) -> None:  # fmt: skip
        self._made = {
            "pool": pool, "decision": decision, "lanes": lanes, "reward": reward, "lagrange": lagrange, "fail": fail,
            "span": span, "max_attempts": max_attempts, "same_step": same_step, "atol_factor": atol_factor,
        }  # fmt: skip
        self.pool, self.decision, self.lanes, self.same_step = pool, decision, lanes, same_step
        self.method, self.n_act, self.n_obs = pool.method.name, decision.n_act, decision.n_obs
        self.priced = reward == "constraint"
        family = pool.family
        self._problem = family.at(pool.y0[0], pool.p[0])
        parts = prepared_parts(self._problem)
        kernel, count = _kernel(family, parts, pool.method, decision)
        self._module, self._at = kernel.module, kernel.layout.rows
        self.kernel = Rows(Layout(self._at, count))
        self._blocks = np.zeros((lanes, count))
        self.keys, self.episodes = np.zeros(lanes, np.uint64), np.zeros(lanes, np.int64)
        self.consts = np.zeros(len(places.CONSTS))
        self.consts[places.CONST_SAME_STEP], self.consts[places.CONST_LAGRANGE] = same_step, lagrange
        self.consts[places.CONST_FAIL], self.consts[places.CONST_MAX_ATTEMPTS] = fail, max_attempts
        self.consts[places.CONST_ATOL_FACTOR] = atol_factor
        grid = np.zeros(len(places.GRID))
        grid[places.GRID_ERROR_FIRST], grid[places.GRID_ERROR_STEP] = ERROR_GRID[0], ERROR_GRID[1] - ERROR_GRID[0]
        grid[places.GRID_RTOL_FIRST], grid[places.GRID_RTOL_STEP] = pool.log_rtol[0], np.diff(pool.log_rtol)[0]
        given = {"t0": family.t_span[0], "t1": family.t_span[1], "tree": 1.0, "max_steps": np.inf, "first": np.nan}
        opts = np.array([given.get(name, 0.0) for name in build.OPTIONS])
        none = np.zeros(0)
        self._pool = (
            build.REWARDS.index(reward), np.ascontiguousarray(decision.params, dtype=np.float64), pool.y0,
            *(rows_of(parts[role], pool.p) for role in ROLES), pool.path_keys, pool.ref, pool.size, pool.table,
            np.ascontiguousarray(pool.at_tol), grid, span, self.consts, np.zeros(family.n), opts, none,
            none.astype(np.int64), np.zeros((1, 0, family.n)), self.keys, self.episodes,
        )  # fmt: skip
        self.obs = np.zeros((lanes, self.n_obs), np.float32)
        self.final_obs = np.zeros_like(self.obs)
        self.reward, self.durations = np.zeros(lanes, np.float32), np.zeros(lanes)
        self.terminated, self.truncated = np.zeros(lanes, np.bool_), np.zeros(lanes, np.bool_)
        self.stats, self.ended = np.zeros((lanes, len(places.EPISODE))), np.zeros(lanes, np.int64)
        self._started = False

    def _about(self) -> dict[str, Any]:
        pool = self.pool
        rule = {k: self._made[k] for k in ("reward", "fail", "max_attempts", "same_step", "atol_factor")}
        return {
            **rule, "family": pool.family.name, "method": pool.method.name, "estimate": pool.method.estimate,
            "decision": repr(self.decision), "decision's parameters": digest(self.decision.key, self.decision.params),
            "paths": len(pool.y0), "paths' values": digest(pool.y0, pool.p, pool.path_keys),
        }  # fmt: skip

    def _computed(self) -> dict[str, float]:
        pool = self.pool
        return {
            "tolerances": total(self._made["span"]), "references": total(pool.ref),
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
        mask = np.ones(self.lanes, np.bool_) if mask is None else mask
        if not self._started and not np.all(mask):
            raise ValueError("the first reset must cover every lane")
        self._started = True
        try:
            self._module.env_reset(self._blocks, mask, *self._pool, self.obs)
        except Exception as error:  # the compiler's, at the first call
            raise explained(error, self._problem.part("drift")) from None
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
        return self._module.env_step(
            self._blocks, actions, *self._pool, self.obs, self.reward, self.durations, self.terminated, self.truncated,
            self.final_obs, self.stats, self.ended,
        )  # fmt: skip

    def rows(self, name: str, count: int = 1) -> np.ndarray:
        """Rows of the kernel's block by name, a view (lanes, count)."""
        return self._blocks[:, self._at[name] : self._at[name] + count]

    def waiting(self, lane: int) -> bool:
        """Whether the lane's episode is over and its next one has not begun."""
        return bool(self.rows("ENDED")[lane, 0] != 0.0)

    def snapshot(self, lane: int) -> np.ndarray:
        """Time, size of the pending attempt, and the state."""
        return np.concatenate([self.rows("T")[lane], self.rows("HS")[lane], self.rows("Y", self.pool.family.n)[lane]])

    def episode(self, lane: int) -> dict[str, float]:
        """Statistics of the episode that has just ended in `lane`."""
        return dict(zip(places.EPISODE, self.stats[lane].tolist(), strict=True))


def _kernel(family: SDEFamily, parts: Any, method: Any, decision: Decision) -> Any:
    functions = {role: parts[role].rhs for role in ROLES}
    sizes = (parts["drift"].m, parts["diffusion"].m)
    key = (
        method.name, method.estimate, family.noise, *(identity(fn) for fn in functions.values()), family.n, sizes,
        decision.key, decision.law.known, decision.n_state,
    )  # fmt: skip
    if key not in _KERNELS:
        _KERNELS[key] = build.env_kernel(method, family.noise, functions, family.n, sizes, decision)
    return _KERNELS[key]


@functools.lru_cache(maxsize=8)
def _pool(
    family: SDEFamily, method: methods.SDEMethod, law: Law, size: int, paths: int, split: str, seed: int,
    rtol: tuple[float, float],
) -> SDEPool:  # fmt: skip
    return make_pool(family, method, law, size, paths, split, seed, rtol)


def _decision(
    family: str, decision: Any, law: Any, features: Any, n_act: int, method: methods.SDEMethod
) -> Decision:  # fmt: skip
    """The options decision, law, features and n_act."""
    if decision is None:
        if not isinstance(law, (str, Law, Mapping)):
            raise options.refuse("law", "the name of a law, a Law, or a table with a 'base'", law)
        if options.count("n_act", n_act) not in (1, 2):
            raise options.refuse("n_act", "1 (step size) or 2 (and acceptance threshold)", n_act)
        seen = TIER1 if features is None else features
        decision = Decision(observation=seen, law=resolve.base_law(law, family), actions=SETS[n_act])
    elif not isinstance(decision, Decision):
        raise options.refuse("decision", "a Decision or None", decision)
    elif (law, features, n_act) != ("i", None, 2):
        raise options.OptionError("law, features and n_act have no effect beside decision, which holds its own")
    check_law(decision, method)
    return decision


def make_core(
    lanes: int,
    same_step: bool,
    family: str | SDEFamily = "gbm",
    method: str | None = None,
    decision: Decision | None = None,
    law: str | Law | Mapping[str, Any] = "i",
    features: tuple[str, ...] | None = None,
    n_act: int = 2,
    baseline: str | Law = "pi34",
    rtol: tuple[float, float] = (0.3, 0.01),
    atol_factor: float = 1.0,
    pool_size: int = 32,
    paths: int = 16,
    split: str = "train",
    pool_seed: int = 0,
    reward: str = "matched",
    lagrange: float = 1.0,
    fail: float = 1.0,
    max_attempts: int = 20_000,
    estimate: str = "published",
) -> SDECore:
    """Build the batch core that an environment's arguments describe.

    lanes       number of environments in lock-step.
    same_step   a finished lane restarts in the call that ended it, instead of the next one.
    family      an `SDEFamily` or the name of one (`stepsmith.sdes.names()`).
    method      the name of a method for SDEs; None: the family's own.
    decision    a `Decision`, in the place of law, features and n_act; or None.
    law         base of the residual, see `controllers.resolve.base_law`.
    features    names of the features to observe; None: tier 1.
    n_act       number of actions: 1 (step size) or 2 (and acceptance threshold).
    baseline    the law whose work the rewards compare with: a name or a `Law`.
    rtol        (loose, tight), the range of relative tolerances, at most 1.  atol_factor: absolute over relative.
    pool_size, paths
                number of instances, and of paths of each.
    split, pool_seed
                "train", "validation" or "test", and the seed that they are drawn with.
    reward      "matched", "matched_end" or "constraint", with its weights lagrange and fail.
    max_attempts
                attempts after which an episode is truncated.
    estimate    of a step's error, "published" or "difference", as in `solve_sde`.

    Raises ValueError on unknown names, naming the nearest, and on bad values.
    """
    lanes = options.count("num_envs", lanes, high=MOST)
    same_step = options.flag("same_step", same_step)
    given = dict(
        family=family, method=method, decision=decision, law=law, features=features, n_act=n_act, baseline=baseline,
        rtol=rtol, atol_factor=atol_factor, pool_size=pool_size, paths=paths, split=split, pool_seed=pool_seed,
        reward=reward, lagrange=lagrange, fail=fail, max_attempts=max_attempts, estimate=estimate,
    )  # fmt: skip
    fam, meth, one, span = checked(**given)
    base = law_of(baseline, fam.name, "tsit5")
    pool = _pool(fam, meth, base, pool_size, paths, split, pool_seed, span)
    core = SDECore(
        pool, one, lanes, reward, float(lagrange), float(fail), pool.span(span), max_attempts, same_step,
        float(atol_factor),
    )  # fmt: skip
    kept = {"family": fam.name if fam.name in families.NAMES else fam, "method": meth.name, "decision": decision}
    core.recipe = make_core, (lanes, same_step), given | kept
    return core


def checked(
    family: Any, method: Any, law: Any, features: Any, n_act: Any, baseline: Any, rtol: Any, atol_factor: Any,
    pool_size: Any, paths: Any, split: Any, pool_seed: Any, reward: Any, lagrange: Any, fail: Any, max_attempts: Any,
    decision: Any = None, estimate: Any = "published",
) -> tuple[SDEFamily, methods.SDEMethod, Decision, tuple[float, float]]:  # fmt: skip
    """The family, the method, the decision and the range of tolerances that `make_core`'s options mean; raises as it
    does, and draws no pool."""
    fam = families.family(family)
    meth = methods.get(fam.method if method is None else method, estimate)
    methods.check(meth, fam.noise, fam.interpretation, adaptive=True)
    check_noise(fam.problem(), meth)
    options.choice("reward", reward, build.REWARDS)
    if options.number("lagrange", lagrange, low=0.0) != 1.0 and reward != "constraint":
        raise options.OptionError(f"lagrange has no effect on the reward {reward!r}: only 'constraint' uses it")
    span = tolerances_of(rtol)
    options.number("atol_factor", atol_factor, low=0.0)
    options.number("fail", fail, low=0.0)
    options.count("max_attempts", max_attempts)
    options.count("pool_size", pool_size, high=MOST)
    options.count("paths", paths, high=MOST)
    options.choice("split", split, [name for name in SPLITS if name != "sample"])
    options.count("pool_seed", pool_seed, low=0)
    law_of(baseline, fam.name, "tsit5")
    return fam, meth, _decision(fam.name, decision, law, features, n_act, meth), span
