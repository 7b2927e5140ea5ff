"""Diffrax as a host: how solves end and go on, and what options do."""

from __future__ import annotations

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stepsmith as ss
from diffrax_solves import float64, solved, steps, swing  # noqa: F401  # a fixture
from stepsmith.controllers import laws
from stepsmith.integrators.core.errors import OptionError

PI34 = ss.controller("pi34")
FAILED, LIMIT, FINE = dfx.RESULTS.dt_min_reached, dfx.RESULTS.max_steps_reached, dfx.RESULTS.successful
STATE = dfx.SaveAt(t1=True, controller_state=True)


@pytest.fixture
def float32():
    jax.config.update("jax_enable_x64", False)
    yield
    jax.config.update("jax_enable_x64", True)


# -- ends --------------------------------------------------------------------------------------------------------------


FAULTS = {
    "nan at once": (lambda t, y, args: y * jnp.nan, FAILED, 1000),  # sizes near t = 0 go down to 1e-300
    "nan from a time on": (lambda t, y, args: jnp.where(t < 0.5, -y, jnp.nan), FAILED, 120),
    "infinite from a time on": (lambda t, y, args: jnp.where(t < 0.5, -y, jnp.inf), FAILED, 120),
    "blow-up": (lambda t, y, args: y**2, FAILED, 1000),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["pi34", "three-body-formula"])
def test_what_cannot_be_solved_ends_soon_and_is_no_success(fault, name):
    fn, result, most = FAULTS[fault]
    sol = solved(ss.controller(name).for_diffrax(), fn, (0.0, 2.0), (1.0, 2.0), throw=False)
    assert sol.result == result
    assert sol.stats["num_steps"] <= most
    assert (steps(sol) < 1.01).all()
    assert not np.isnan(np.asarray(sol.ys)[: len(steps(sol))]).any()


def test_the_limit_of_steps_and_a_failure_raise_by_default():
    assert solved(PI34.for_diffrax(), max_steps=5, throw=False).result == LIMIT
    with pytest.raises(Exception, match="minimum step size was reached"):
        solved(PI34.for_diffrax(), lambda t, y, args: y * jnp.nan)


def test_an_infinite_state_is_never_accepted():
    # diffrax's own controller takes the scaled error of an infinite state, which is 0, for a good one
    ctrl = PI34.for_diffrax()
    _, state = ctrl.init(None, jnp.array(0.0), jnp.array(1.0), jnp.ones(2), jnp.array(0.1), None, None, 5)
    given = (jnp.array(0.0), jnp.array(0.1), jnp.ones(2), jnp.array([1.0, jnp.inf]), None, jnp.zeros(2), 5, state)
    accept, start, end, *_ = ctrl.adapt_step_size(*given)
    assert not accept and start == 0.0 and end == pytest.approx(0.02)
    other = dfx.PIDController(1e-6, 1e-9)
    assert other.adapt_step_size(*given[:-1], other.init(None, 0.0, 1.0, jnp.ones(2), 0.1, None, None, 5)[1])[0]


def test_a_smallest_size_is_kept_or_ends_the_solve():
    kept = solved(PI34.for_diffrax(1e-9, 1e-12, dtmin=0.125), span=(0.0, 4.0))
    assert kept.result == FINE and kept.stats["num_rejected_steps"] <= 1
    np.testing.assert_allclose(np.diff(steps(kept)), 0.125, rtol=1e-12)
    ended = solved(PI34.for_diffrax(1e-9, 1e-12, dtmin=0.125, force_dtmin=False), throw=False)
    assert ended.result == FAILED and ended.stats["num_steps"] < 5
    # a smallest size is no reason to accept what is no number
    lost = solved(PI34.for_diffrax(dtmin=1e-3), FAULTS["nan from a time on"][0], throw=False)
    assert lost.result == FAILED and 0.49 < steps(lost)[-1] < 0.51


@pytest.mark.parametrize(("t_end", "result"), [(0.1, FINE), (1.0, FAILED)])
def test_what_would_come_after_the_last_step_is_not_too_small(t_end, result):
    ctrl, now, size, y = PI34.for_diffrax(dtmin=0.1, force_dtmin=False), jnp.array(0.0), jnp.array(0.1), jnp.ones(2)
    _, state = ctrl.init(None, now, jnp.array(t_end), y, size, None, None, 5)
    error = 0.99 * (ctrl.atol + ctrl.rtol * y)  # accepted, and the next step is to be shorter
    accept, *_, found = ctrl.adapt_step_size(now, size, y, y, None, error, 5, state)
    assert accept and found == result


def test_a_largest_size_holds():
    sizes = np.diff(steps(solved(PI34.for_diffrax(1e-3, 1e-3, dtmax=0.25))))
    assert sizes.max() == pytest.approx(0.25, rel=1e-12) and np.median(sizes) > 0.2


@pytest.mark.parametrize("span", [(0.0, 10.0), (10.0, 0.0)])
def test_even_steps_end_in_equal_ones(span):
    loose = np.abs(np.diff(steps(solved(PI34.for_diffrax(dtmax=0.3), span=span))))
    even = np.abs(np.diff(steps(solved(PI34.for_diffrax(dtmax=0.3, even_steps=True), span=span))))
    assert loose[-1] < 0.9 * loose[-2]
    assert even[-1] == pytest.approx(even[-2], rel=0.2) and even.max() <= 0.3 * (1 + 1e-12)
    constant = steps(
        solved(PI34.for_diffrax(dtmax=0.3, even_steps=True), lambda t, y, args: jnp.ones(2), span=span, dt0=None)
    )
    np.testing.assert_allclose(np.abs(np.diff(constant))[-30:], np.abs(np.diff(constant))[-1], rtol=1e-9)


def test_a_time_line_far_from_zero():
    sol = solved(PI34.for_diffrax(), span=(1e6, 1e6 + 10.0))
    near = solved(PI34.for_diffrax())
    assert sol.result == FINE and abs(int(sol.stats["num_steps"]) - int(near.stats["num_steps"])) <= 1


def test_an_event_ends_the_solve_where_it_happens():
    import optimistix

    event = dfx.Event(lambda t, y, args, **_: y[0] - 1.0, optimistix.Newton(1e-10, 1e-10))
    fn = lambda t, y, args: -y  # noqa: E731
    sol = solved(PI34.for_diffrax(1e-8, 1e-8), fn, y0=(2.0, 0.0), event=event, saveat=dfx.SaveAt(t1=True))
    assert sol.result == dfx.RESULTS.event_occurred
    assert float(sol.ts[0]) == pytest.approx(np.log(2.0), rel=1e-6)


# -- going on ----------------------------------------------------------------------------------------------------------


def test_a_solve_in_two_halves_takes_the_steps_of_one():
    ctrl = ss.controller("h211b").for_diffrax()
    whole = solved(ctrl)
    t = float(steps(whole)[9])
    y = whole.ys[9]
    half = solved(ctrl, span=(0.0, t), saveat=STATE)
    state, dt0 = half.controller_state, ctrl.next_size(half.controller_state)
    rest = solved(ctrl, span=(t, 10.0), y0=y, dt0=dt0, controller_state=ctrl.continued(state, t, 10.0))
    np.testing.assert_allclose(steps(rest), steps(whole)[10:], rtol=1e-12)
    fresh = solved(ctrl, span=(t, 10.0), y0=y, dt0=dt0)
    assert not np.allclose(steps(fresh)[: len(steps(rest))], steps(rest), rtol=1e-6)
    # the old state alone serves a law, which asks for no end
    same = solved(ctrl, span=(t, 10.0), y0=y, dt0=dt0, controller_state=state)
    np.testing.assert_allclose(steps(same), steps(rest), rtol=1e-12)


def test_even_steps_need_to_know_the_new_end():
    """A state of a solve that has ended knows none: the steps are the controller's, and right; `continued` evens them.
    """
    ctrl = PI34.for_diffrax(1e-5, 1e-8, even_steps=True)
    state = solved(ctrl, span=(0.0, 1.0), saveat=STATE).controller_state
    blind = solved(ctrl, span=(1.0, 2.0), dt0=ctrl.next_size(state), controller_state=state)
    good = ctrl.continued(state, 1.0, 2.0)
    even = solved(ctrl, span=(1.0, 2.0), dt0=ctrl.next_size(good), controller_state=good)
    assert blind.result == FINE and even.result == FINE
    last = [np.diff(steps(sol))[-2:] for sol in (even, blind)]
    assert last[0][1] == pytest.approx(last[0][0], rel=0.6) and steps(blind)[-1] == 2.0


@pytest.mark.parametrize("span", [(0.0, 10.0), (10.0, 0.0)])
@pytest.mark.parametrize("clip", [False, True])
def test_the_first_size_warms_the_next_solve_up(span, clip):
    ctrl = PI34.for_diffrax(1e-4, 1e-6)
    used = dfx.ClipStepSizeController(ctrl, step_ts=[4.0]) if clip else ctrl
    cold = solved(used, span=span, saveat=STATE, dt0=1e-6 * np.sign(span[1] - span[0]))
    first = ctrl.first_size(cold.controller_state)
    assert np.sign(first) == np.sign(span[1] - span[0])
    assert abs(first) == pytest.approx(1e-5, rel=1e-6)  # the law's greatest factor, 10
    warm = solved(used, span=span, saveat=STATE, dt0=first)
    assert warm.stats["num_steps"] == cold.stats["num_steps"] - 1
    with pytest.raises(OptionError, match="first_size"):
        PI34.for_diffrax(warm_start=True)
    with pytest.raises(TypeError, match="controller_state=True"):
        ctrl.first_size(None)


def test_the_state_has_one_shape_and_dtype_throughout():
    ctrl = ss.controller("lorenz96").for_diffrax()
    args = (None, jnp.array(0.0), jnp.array(1.0), jnp.ones(3), jnp.array(0.1), None, None, 5)
    _, before = ctrl.init(*args)
    after = ctrl.adapt_step_size(
        jnp.array(0.0), jnp.array(0.1), jnp.ones(3), jnp.ones(3), None, jnp.full(3, 1e-8), 5, before
    )[4]
    assert before.kept.shape == (6,)  # the rest of the 9 does not outlive a decision
    kinds = [jax.tree.map(lambda x: (x.shape, x.dtype), s) for s in (before, after)]
    assert kinds[0] == kinds[1]


# -- dtypes, options ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["diffrax", "h211b", "predictive", "lorenz96"])
def test_float32(name, float32):
    ctrl = ss.controller(name).for_diffrax(1e-4, 1e-6)
    sol = solved(ctrl, dt0=0.01)
    assert ctrl.params.dtype == sol.ys.dtype == jnp.float32 and sol.result == FINE
    if name == "diffrax":
        theirs = solved(dfx.PIDController(1e-4, 1e-6), dt0=0.01)
        assert sol.stats["num_steps"] == theirs.stats["num_steps"]
        np.testing.assert_allclose(steps(sol), steps(theirs), rtol=1e-3)
    with pytest.raises(Exception, match="minimum step size"):
        solved(ctrl, lambda t, y, args: y**2, y0=(1.0, 2.0))


def test_a_float32_state_and_time_where_float64_is_on():
    t0, t1 = jnp.float32(0.0), jnp.float32(10.0)
    sol = solved(PI34.for_diffrax(1e-4, 1e-6), span=(t0, t1), y0=np.array([2.0, 0.0], np.float32), saveat=STATE)
    assert sol.ys.dtype == jnp.float32 and sol.ts.dtype == jnp.float32 and sol.result == FINE
    assert sol.controller_state.kept.dtype == jnp.float64 and sol.controller_state.want.dtype == jnp.float32


def test_a_tolerance_of_zero_and_a_component_that_stays_zero():
    sol = solved(PI34.for_diffrax(1e-6, 0.0), lambda t, y, args: -y, y0=(1.0, 0.0), dt0=0.1)
    assert sol.result == FINE and float(sol.ys[len(steps(sol)) - 1, 0]) == pytest.approx(np.exp(-10.0), rel=1e-4)


def test_traced_tolerances():
    counts = jax.vmap(lambda rtol: solved(PI34.for_diffrax(rtol, rtol), saveat=STATE).stats["num_steps"])
    few, many = counts(jnp.array([1e-3, 1e-8]))
    assert few < many


def test_a_norm_of_ones_own():
    greatest = lambda tree: jnp.abs(tree).max()  # noqa: E731
    law = ss.controller("diffrax")
    theirs = solved(dfx.PIDController(1e-6, 1e-9, norm=greatest), dt0=0.01)
    ours = solved(law.for_diffrax(norm=greatest), dt0=0.01)
    np.testing.assert_allclose(steps(ours), steps(theirs), rtol=1e-8)
    assert len(steps(ours)) > len(steps(solved(law.for_diffrax())))


class Silent(dfx.Tsit5):
    def error_order(self, terms):
        return None


def test_a_solver_that_does_not_tell_its_order():
    with pytest.raises(ValueError, match="error_order=k"):
        solved(PI34.for_diffrax(), solver=Silent())
    told = solved(PI34.for_diffrax(error_order=5), solver=Silent())
    np.testing.assert_allclose(steps(told), steps(solved(PI34.for_diffrax())), rtol=1e-12)
    with pytest.raises(ValueError, match="no error estimate"):
        solved(PI34.for_diffrax(), solver=dfx.Euler(), dt0=0.1)


def test_the_program_calls_nothing_on_the_host():
    ctrl = ss.controller("lorenz96").for_diffrax()
    _, state = ctrl.init(None, jnp.array(0.0), jnp.array(1.0), jnp.ones(2), jnp.array(0.1), None, None, 5)
    given = (jnp.array(0.0), jnp.array(0.1), jnp.ones(2), jnp.ones(2))
    text = str(jax.make_jaxpr(lambda e, s: ctrl.adapt_step_size(*given, None, e, 5, s)[:3])(jnp.ones(2), state))
    assert "exp" in text and "callback" not in text


def test_a_constant_step_has_its_own_first_size():
    sol = solved(laws.get("constant", h=0.25).for_diffrax(), span=(0.0, 2.0))
    np.testing.assert_allclose(steps(sol), np.arange(1, 9) * 0.25, rtol=1e-14)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"pcoeff": 0.4}, "no option 'pcoeff'"),
        ({"rtol": -1.0}, "rtol must be"),
        ({"atol": "small"}, "atol must be"),
        ({"rtol": np.ones(3)}, "rtol must be"),
        ({"dtmin": 0.0}, "dtmin must be"),
        ({"dtmin": 2.0, "dtmax": 1.0}, "dtmin must be at most dtmax"),
        ({"force_dtmin": 1}, "force_dtmin must be"),
        ({"even_steps": "yes"}, "even_steps must be"),
        ({"norm": 3}, "norm must be"),
        ({"error_order": -5}, "error_order must be"),
    ],
)
def test_options_are_checked(options, match):
    with pytest.raises(OptionError, match=match):
        PI34.for_diffrax(**options)


@pytest.mark.parametrize(
    ("span", "y0"), [((0.0, 10.0), (2.0, 0.0)), ((3.0, -4.0), (0.3, 1.0)), ((0.0, 1e3), (0.0, 0.0))]
)
def test_the_first_size_is_hairers(span, y0):
    """Against SciPy's `select_initial_step`, which caps it at the span too; at rest both take 1e-6 times 100."""
    from scipy.integrate._ivp.common import select_initial_step

    def slope(t, y):
        return np.array([y[1], -np.sin(y[0])])

    ts = solved(PI34.for_diffrax(1e-5, 1e-8), span=span, y0=y0).ts
    want = select_initial_step(
        slope, span[0], np.array(y0), span[1], np.inf, slope(0.0, y0), np.sign(span[1] - span[0]), 4, 1e-5, 1e-8
    )
    assert abs(ts[0] - span[0]) == pytest.approx(want, rel=1e-9)


def test_even_steps_of_many_solves_at_once():
    """Lanes that have arrived are evaluated on; each takes the steps that it takes alone."""
    ctrl = PI34.for_diffrax(1e-6, 1e-9, even_steps=True)

    def count(rate):
        sol = dfx.diffeqsolve(
            dfx.ODETerm(lambda t, y, args: -args * y), dfx.Tsit5(), 0.0, 1.0, None, jnp.ones(1), rate,
            stepsize_controller=ctrl,
        )  # fmt: skip
        return sol.stats["num_steps"], sol.ys[-1, 0]

    rates = jnp.array([1.0, 10.0, 100.0])
    steps_together, y = jax.vmap(count)(rates)
    assert steps_together.tolist() == [int(count(rate)[0]) for rate in rates] and len(set(steps_together.tolist())) == 3
    assert np.asarray(y) == pytest.approx(np.exp(-np.asarray(rates)), abs=1e-5)
