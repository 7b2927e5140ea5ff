"""Diffrax as a host: a first size of NaN is chosen by the rule, in the program of those that are given."""

from __future__ import annotations

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stepsmith as ss
from diffrax_solves import float64, solved, swing  # noqa: F401  # a fixture
from stepsmith.controllers import laws

PI34 = ss.controller("pi34")


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("name", ["pi34", "constant"])
def test_a_first_size_that_is_nan_is_chosen_and_a_number_is_kept_in_one_program(name, clip):
    ctrl = laws.get("constant", h=0.25) if name == "constant" else PI34
    ours = ctrl.for_diffrax(1e-5, 1e-8, even_steps=not clip)
    used = dfx.ClipStepSizeController(ours, step_ts=[4.0]) if clip else ours
    traces = []

    @jax.jit
    def ends(dt0):
        traces.append(dt0)
        sol = solved(used, span=(10.0, 0.0), dt0=dt0, saveat=dfx.SaveAt(steps=True, controller_state=True))
        return sol.ts, ours.first_size(sol.controller_state), sol.stats["num_steps"]

    nan = jnp.array(jnp.nan, jnp.float64)
    ts, first, count = ends(nan)
    chosen = solved(used, span=(10.0, 0.0), dt0=None)
    np.testing.assert_array_equal(ts, chosen.ts)
    again = ends(first)
    assert len(traces) == 1 and again[2] <= count and (name == "constant" or again[0][0] != ts[0])
    np.testing.assert_allclose(ends(jnp.array(-0.125, jnp.float64))[0][0], 10.0 - 0.125, rtol=1e-6)
    assert len(traces) == 1
    many = jax.vmap(lambda dt0: solved(used, span=(10.0, 0.0), dt0=dt0).ts)(jnp.stack([nan, first, nan]))
    for row, alone in zip(many, (ts, again[0], ts), strict=True):
        np.testing.assert_allclose(row, alone, rtol=1e-6)


def test_the_rule_is_evaluated_where_the_first_size_is_nan_alone():
    seen = []

    def watched(t, y, args):
        jax.debug.callback(lambda t: seen.append(float(t)), t)
        return -y

    def count(dt0):
        seen.clear()
        sol = solved(PI34.for_diffrax(), watched, span=(0.0, 1.0), dt0=dt0, saveat=dfx.SaveAt(t1=True))
        jax.block_until_ready(sol.ys), jax.effects_barrier()
        return len(seen) - 6 * int(sol.stats["num_steps"])

    assert count(jnp.nan) == count(0.01) + 2


def test_a_chosen_first_size_has_no_gradient():
    def loss(rate, dt0):
        end = dfx.SaveAt(t1=True)
        return solved(PI34.for_diffrax(), lambda t, y, args: -rate * y, span=(0.0, 1.0), dt0=dt0, saveat=end).ys.sum()

    nan, none = (jax.grad(loss)(jnp.array(1.5), dt0) for dt0 in (jnp.nan, None))
    assert nan == pytest.approx(float(none), rel=1e-14) and float(nan) == pytest.approx(-2 * np.exp(-1.5), rel=1e-4)
