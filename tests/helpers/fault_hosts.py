"""The hosts of the engine, behind one call: what each makes of the same fault.

`run(host, ...)` integrates one trajectory, with neighbours beside it where the host has lanes, and says how it ended.
The CUDA kernel runs on a GPU where there is one, and in Numba's simulator in a process of its own: there it is the only
host.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

import stepsmith as ss
from stepsmith.integrators.engine import cuda

SIMULATOR = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
COMPILED = ("cuda",) if SIMULATOR else ("single", "ensemble", "env", *(("cuda",) if cuda.missing() is None else ()))
TORCH = () if SIMULATOR else ("torch batch", "torch per sample")
HOSTS = (*COMPILED, *TORCH)
LANE = 2  # the trajectory that is looked at, where there are several
LANES = 5


@dataclass
class Outcome:
    """How the trajectory ended: success, the last good time and state, what was said, and the states of its neighbours.
    """

    success: bool
    t: float
    y: np.ndarray
    message: str
    others: np.ndarray


def env_core(rhs: Any, y0: Any, t_span: Any, p: Any, good: Any, max_attempts: int = 10_000, lanes: int = LANES) -> Any:
    """A batch core whose instances are the trajectory and, `good` being their parameters, its neighbours."""
    from stepsmith.controllers.learned.decision import Decision
    from stepsmith.envs.core import Core, Reward
    from stepsmith.envs.pool import ERROR_GRID, Pool
    from stepsmith.integrators.problems.families import Family

    n = len(y0)
    family = Family("faults", "", rhs, n, len(p), lambda rng, count: None, error="final", n_out=32)  # type: ignore[arg-type, return-value]
    batch = ss.Batch(rhs, [y0, y0], [p, good], [t_span[0]] * 2, [t_span[1]] * 2, validate=False)
    grid = np.log(np.geomspace(1e-9, 1e-3, 24))
    table = np.zeros((2, ERROR_GRID.size))
    pool = Pool(family, batch, batch.times([1.0]), np.ones((2, 1, n)), table, grid, np.zeros((2, 2, 24)), 0, "bs32")
    span = np.tile(np.log([1e-6, 1e-6]), (2, 1))
    return Core(pool, "bs32", Decision(law="i"), lanes, Reward("matched"), span, max_attempts, True)


def run(
    host: str, rhs: Any, y0: Any, t_span: tuple[float, float] = (0.0, 1.0), p: Any = (), good: Any = None,
    func: Any = None,
    max_steps: int = 10_000, validate: bool = False,
) -> Outcome:  # fmt: skip
    """Integrate y' = rhs(t, y, p, dy) (torch: func(t, y, p)) with bs32 at 1e-6; neighbours have the parameters `good`
    (None: p).
    """
    good = p if good is None else good
    y0 = np.asarray(y0, float)
    ps = np.tile(np.asarray(good, float), (LANES, 1)).reshape(LANES, len(p))
    ps[LANE] = p
    many = np.tile(y0, (LANES, 1))
    others = np.arange(LANES) != LANE
    if host == "single":
        sol = ss.solve(ss.Problem(rhs, y0, t_span, p, validate=validate), "bs32", "i", 1e-6, 1e-6, max_steps=max_steps)
        return Outcome(sol.success, sol.t[-1], sol.y[-1], sol.message, np.empty((0, y0.size)))
    if host in ("ensemble", "cuda"):
        batch = ss.Batch(rhs, many, ps, t_span[0], t_span[1], validate=validate)
        more: dict = {"device": "cuda"} if host == "cuda" else {}
        ens = ss.solve_ensemble(batch, "bs32", "i", 1e-6, 1e-6, max_steps=max_steps, **more)
        return Outcome(bool(ens.success[LANE]), ens.t[LANE], ens.y[LANE], ens.message(LANE), ens.y[others])
    if host == "env":
        return _env(rhs, y0, t_span, p, good, max_steps)
    import torch

    start = torch.tensor(many if host == "torch per sample" else y0[None])
    rates = torch.tensor(ps if host == "torch per sample" else np.asarray(p, float).reshape(1, -1))
    out = ss.neural.odeint(
        lambda t, y: func(t, y, rates), start, torch.tensor(t_span), method="bs32", controller="i", rtol=1e-6,
        atol=1e-6,
        per_sample=host == "torch per sample", max_steps=max_steps,
    )  # fmt: skip
    at = LANE if host == "torch per sample" else 0
    good_rows = out.y[-1].numpy()[others] if host == "torch per sample" else np.empty((0, y0.size))
    return Outcome(
        bool(out.stats.status[at] == 1), float(out.t_last[at]), out.y_last[at].numpy(), out.message, good_rows
    )


def _env(rhs: Any, y0: np.ndarray, t_span: Any, p: Any, good: Any, max_steps: int) -> Outcome:
    """Play episodes of the law itself until each instance has ended once."""
    from stepsmith.integrators.kernels.layout import MESSAGES

    core = env_core(rhs, y0, t_span, p, good, max_steps)
    core.seed(np.arange(LANES, dtype=np.uint64))
    core.reset()
    ends: dict[int, tuple] = {}
    for _ in range(200_000):
        before = core.rows("T")[0].copy(), core.rows("Y", y0.size).T.copy()
        ended = core.step(np.zeros((LANES, core.decision.n_act), np.float32))
        for lane in core.ended[:ended]:
            episode = core.episode(int(lane))
            assert np.isfinite(core.reward[lane]) and np.isfinite(core.final_obs[lane]).all()
            ends.setdefault(int(episode["instance"]), (episode, before[0][lane], before[1][lane]))
        if len(ends) == 2:
            break
    assert np.isfinite(core.obs).all()
    episode, t, y = ends[0]
    status = int(episode["status"])
    return Outcome(status == 1, t, y, MESSAGES.get(status, ""), np.empty((0, y0.size)))
