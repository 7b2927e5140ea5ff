"""Attempts for controllers that were exported, and what the package itself answers to them."""

from __future__ import annotations

import functools

import numpy as np

import stepsmith as ss
from stepsmith.controllers import hosts, resolve
from stepsmith.controllers.laws import names, registry
from stepsmith.integrators.core import record as rec
from stepsmith.integrators.core.namespaces import SCALAR, Arrays
from stepsmith.integrators.core.runner import Runner

ZOO = (
    "three-body", "kuramoto", "e5", "hires", "lorenz96", "neural-field", "steppo", "stiff", "three-body-formula",
    "kuramoto-tier1", "neural-field-tier1", "steppo-tier1", "stiff-tier1",
)  # fmt: skip
NAMES = (*(name for name in names() if name != "constant"), "constant_step", *ZOO)

#: attempts of a drawn trajectory
BLOCK = 40

#: controller: what it is recorded on
RECORDED = {
    "pi34": ("arenstorf", "dopri5"), "h211b": ("arenstorf", "dopri5"), "h0321": ("arenstorf", "dopri5"),
    "kuramoto": ("kuramoto", "dopri5"), "e5": ("e5", "rodas5p"), "steppo": ("steppo_vdpol", "kvaerno5"),
    "aarseth": ("plummer", "hermite4"), "constant_step": ("lotka_volterra", "dopri5"),
}  # fmt: skip


@functools.cache
def controller(name):
    """A law, the constant step, or a controller of the zoo."""
    return registry.get("constant", h=0.01) if name == "constant_step" else resolve.controller(name)


@functools.cache
def recorded(name):
    """Attempts of the engine under a controller of `RECORDED`."""
    family, method = RECORDED[name]
    rtol = 1e-3 if family == "lotka_volterra" else 1e-5
    return hosts.recorded(ss.problems.make(family), method, controller(name), rtol=rtol, atol=1e-8)


def drawn(n, seed):
    """(n, N_RECORD) attempts of all kinds: errors from 1e-300 to 1e300, 0, infinite and no numbers, long rows of
    rejections, steps cut short, slots that are unknown.
    """
    rng = np.random.default_rng(seed)
    rows = np.exp(rng.normal(0.0, 3.0, (n, rec.N_RECORD)))
    rows[:, rec.ERR] = np.exp(rng.normal(-1.0, 2.0, n))
    odd = rng.random(n)
    for k, value in enumerate((0.0, np.nan, np.inf, 1e300, 1e-300, 1.0, 50.0, 1e-14, 1e301)):
        rows[(odd > 0.01 * k) & (odd < 0.01 * (k + 1)), rec.ERR] = value
    for at in range(0, n - 20, 97):
        rows[at : at + rng.integers(2, 12), rec.ERR] = 10.0 ** rng.uniform(1.5, 8.0)
    rows[:, rec.H] = np.exp(rng.normal(-3.0, 2.0, n))
    rows[:, rec.H_FREE] = rows[:, rec.H] * (1.0 + rng.random(n))
    rows[:, rec.ORDER] = rng.choice([2.0, 3.0, 5.0, 8.0], n)
    rows[:, rec.TRUNCATED] = rng.random(n) < 0.1
    rows[:, rec.FINITE] = rng.random(n) > 0.05
    rows[:, rec.RTOL] = 10.0 ** rng.uniform(-12.0, -2.0, n)
    rows[:, rec.NEWTON_ITERS] = rng.integers(1, 10, n)
    rows[:, rec.NEWTON_RATE] = 10.0 ** rng.uniform(-6.0, 0.5, n)
    rows[:, rec.LU_SHIFT] = np.where(rng.random(n) < 0.3, 0.0, rng.normal(0.0, 0.3, n))
    unknown = rng.random(rows.shape) < 0.02
    unknown[:, [rec.TRUNCATED, rec.FINITE]] = False
    # a size or an order that is no number stays in the lags: at the ends of the blocks alone
    late = np.arange(n) % BLOCK >= BLOCK - 5
    unknown[~late, rec.H] = unknown[~late, rec.ORDER] = False
    rows[unknown] = np.nan
    rows[late & (rng.random(n) < 0.05), rec.H] = np.inf
    rows[late & (rng.random(n) < 0.05), rec.H] = 0.0
    return rows


class InOrder(np.ndarray):
    """A matrix whose products are summed from the first column to the last, as C's loops sum them (BLAS does not)."""

    def __matmul__(self, x):
        total = np.zeros(len(self))
        for column, value in zip(np.asarray(self).T, x, strict=True):
            total = total + column * value
        return total


IN_ORDER = Arrays(SCALAR, np, lambda n, x: np.float64(x), lambda x: x.view(InOrder) if x.ndim == 2 else x, list, True)


def answers(name_or_controller, rows, block=BLOCK, xp="numpy"):
    """What the package decides on the attempts `rows`, one lane that starts anew after every `block`: (n, 4)."""
    one = controller(name_or_controller) if isinstance(name_or_controller, str) else name_or_controller
    out = []
    for at in range(0, len(rows), block):
        runner = Runner(one, 1, xp)
        out += [[float(a[0]) for a in runner.decide(list(row[:, None]))] for row in rows[at : at + block]]
    return np.array(out)


def ulps(found, wanted):
    """The largest difference in units in the last place of max(1, |wanted|); infinite where one alone is NaN."""
    found, wanted = np.asarray(found, float), np.asarray(wanted, float)
    same = (found == wanted) | (np.isnan(found) & np.isnan(wanted))
    with np.errstate(all="ignore"):
        gap = np.abs(found - wanted) / np.spacing(np.maximum(1.0, np.abs(wanted)))
    gap = np.where(same, 0.0, np.where(np.isnan(gap), np.inf, gap))
    return float(gap.max())
