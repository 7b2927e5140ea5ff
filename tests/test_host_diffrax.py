"""Diffrax as a host: with diffrax's own laws it takes diffrax's steps; decisions are those of the engine."""

from __future__ import annotations

import copy
import pickle

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffrax_solves
import stepsmith as ss
from decisions import records
from diffrax_solves import float64, steps  # noqa: F401  # a fixture
from stepsmith.controllers import hosts
from stepsmith.controllers.hosts import diffrax as host
from stepsmith.integrators.core import record as rec

RTOL, ATOL = 1e-6, 1e-9
LEARNED = ("lorenz96", "three-body-formula", "hires")
DIFFRAX = ss.controller("diffrax")


def predator(t, y, args):
    a, b = y["prey"], y["predator"]
    return {"prey": 1.5 * a - a * b, "predator": a * b - 3.0 * b}


def relaxation(t, y, mu):
    return jnp.stack([y[1], mu * (1.0 - y[0] ** 2) * y[1] - y[0]])


def rotation(t, y, args):
    return 1j * y * (1.0 + 0.5 * jnp.cos(t))


def decay(t, y, rate):
    return -rate * y


def points():
    return {"prey": jnp.array([10.0, 4.0]), "predator": jnp.array([5.0, 3.0])}


CASES = {
    "dopri5": (predator, dfx.Dopri5, (0.0, 12.0), points, None),
    "tsit5-rejects": (relaxation, dfx.Tsit5, (0.0, 20.0), lambda: jnp.array([2.0, 0.0]), 8.0),
    "bosh3-backwards": (relaxation, dfx.Bosh3, (3.0, 1.0), lambda: jnp.array([0.5, 0.1]), 1.0),
    "dopri8": (predator, dfx.Dopri8, (0.0, 12.0), points, None),
    # half of its attempts end in a failed Newton iteration, an infinite error
    "kvaerno5-rejects": (relaxation, dfx.Kvaerno5, (0.0, 6.0), lambda: jnp.array([2.0, 0.0]), 5.0),
    "dopri5-complex": (rotation, dfx.Dopri5, (0.0, 10.0), lambda: jnp.array([1.0 + 0.5j, 0.2j]), None),
}  # fmt: skip


def solved(ctrl, fn, solver, span, y0, args=None, *, dt0=None, **options):
    dt0 = np.copysign(0.01, span[1] - span[0]) if dt0 is None else dt0  # what a PIDController begins with
    return diffrax_solves.solved(ctrl, fn, span, y0, solver, args, dt0=dt0, **{"max_steps": 4096, **options})


def of(ctrl, case, **options):
    fn, solver, span, y0, args = CASES[case]
    return solved(ctrl, fn, solver(), span, y0(), args, **options)


def same(ours, theirs, tolerance=1e-8):
    for count in ("num_steps", "num_accepted_steps", "num_rejected_steps"):
        assert int(ours.stats[count]) == int(theirs.stats[count])
    a, b = steps(ours), steps(theirs)
    assert np.abs(a - b).max() <= tolerance * np.abs(b).max()


# -- the steps that diffrax takes --------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Complex dtype support")
@pytest.mark.parametrize("case", CASES)
def test_with_diffrax_own_law_the_steps_are_diffrax_own(case):
    theirs = of(dfx.PIDController(RTOL, ATOL), case)
    assert theirs.stats["num_accepted_steps"] > 15
    assert "rejects" not in case or theirs.stats["num_rejected_steps"] > 30
    same(of(DIFFRAX.for_diffrax(RTOL, ATOL), case), theirs)


@pytest.mark.parametrize(("p", "i", "d"), [(0.4, 0.3, 0.0), (0.2, 0.4, 0.0), (0.1, 0.3, 0.1)])
def test_pi_and_pid_laws_are_diffrax_own_where_the_formulas_coincide(p, i, d):
    # both lag accepted errors, both use the whole law on a rejected attempt; after an error of 0 or a failed Newton
    # iteration they would differ, since diffrax then stores an error of 1
    law = DIFFRAX.replace("diffrax_pid", b1=p + i + d, b2=-p - 2 * d, b3=d, reject_own=1.0, err_floor=1e-300)
    theirs = of(dfx.PIDController(RTOL, ATOL, pcoeff=p, icoeff=i, dcoeff=d), "tsit5-rejects")
    assert theirs.stats["num_rejected_steps"] > 20
    same(of(law.for_diffrax(RTOL, ATOL), "tsit5-rejects"), theirs)


@pytest.mark.parametrize("clip", [{"step_ts": [0.3, 1.0, 4.5, 4.6]}, {"jump_ts": [2.0, 7.0]}])
def test_under_a_clip_controller_steps_land_and_the_next_is_not_small(clip):
    ours = of(dfx.ClipStepSizeController(ss.controller("pi34").for_diffrax(RTOL, ATOL), **clip), "tsit5-rejects")
    theirs = of(dfx.ClipStepSizeController(dfx.PIDController(RTOL, ATOL), **clip), "tsit5-rejects")
    assert ours.result == dfx.RESULTS.successful
    for t in next(iter(clip.values())):
        found = np.abs(steps(ours) - t).min()
        assert found <= 4e-15 and found == np.abs(steps(theirs) - t).min()
    np.testing.assert_allclose(ours.ys[len(steps(ours)) - 1], theirs.ys[len(steps(theirs)) - 1], rtol=1e-3)


def test_after_a_step_cut_short_the_next_is_as_long_as_was_asked_for():
    inner = ss.controller("pi34").for_diffrax(dtmax=0.5)
    ctrl = dfx.ClipStepSizeController(inner, step_ts=[1.0 + 1e-6])
    sol = solved(ctrl, lambda t, y, args: jnp.ones(1), dfx.Tsit5(), (0.0, 3.2), jnp.ones(1), dt0=0.5)
    cut = np.array([1.000001, 1.500001, 2.000001, 2.500001, 3.000001])
    np.testing.assert_allclose(steps(sol), [0.5, 1.0, *cut, 3.2], rtol=1e-14)


# -- the decisions are those of the engine -----------------------------------------------------------------------------


class Played:
    """The decision inside the controller, over recorded attempts."""

    slots = host.SLOTS

    def __init__(self, controller, lanes):
        self.ctrl = controller.for_diffrax()
        made = self.ctrl.structure
        self.kept, _ = made.start(made.pieces(self.ctrl.params), jnp.zeros(lanes))
        self.step = jax.jit(lambda ctrl, kept, record: ctrl.decide(kept, record))

    def decide(self, record):
        accept, log_factor, self.kept = self.step(self.ctrl, self.kept, [jnp.asarray(x) for x in record])
        return np.asarray(accept, dtype=np.float64), np.asarray(log_factor)


@pytest.mark.parametrize("name", ["pi34", "h211b", "predictive", "dopri5_pi", *LEARNED])
def test_recorded_attempts_are_answered_as_by_the_engine(name):
    log = hosts.recorded(ss.problems.make("arenstorf"), "dopri5", ss.controller("pi34"), rtol=1e-5, atol=1e-8)
    controller = ss.controller(name)
    assert (log.accept == 0.0).any()
    accept, log_factor = hosts.reference(controller, log.records, host.SLOTS)
    adapter = Played(controller, 1)
    for k, row in enumerate(np.where(np.isin(np.arange(rec.N_RECORD), sorted(host.SLOTS)), log.records, np.nan)):
        got = adapter.decide(list(row[:, None]))
        assert got[0] == accept[k]
        assert abs(got[1] - log_factor[k]) <= 4 * np.spacing(max(1.0, abs(log_factor[k, 0])))


@pytest.mark.parametrize("name", ["pi34", "h211b", "lorenz96"])
def test_hurt_attempts_of_many_lanes_are_answered_as_by_the_engine(name):
    hosts.check(Played, ss.controller(name), records(3, 7).transpose(0, 2, 1), tolerance=1e-13)


def test_what_the_controller_is_shown():
    rng = np.random.default_rng(0)
    y0, y1, error = rng.normal(size=(3, 5)) * [[1.0], [1.0], [1e-6]]
    ctrl = eqx.tree_at(lambda c: c.direction, ss.controller("three-body-formula").for_diffrax(1e-5, 1e-7), 1,
                       is_leaf=lambda x: x is None)  # fmt: skip
    scale = ctrl.rtol * np.maximum(np.abs(y0), np.abs(y1)) + ctrl.atol
    reads = frozenset({rec.YNORM, rec.ENORM})
    structure = copy.copy(ctrl.structure)
    object.__setattr__(structure, "reads", reads)
    object.__setattr__(ctrl, "structure", structure)
    _, state = ctrl.init(None, jnp.array(1.0), jnp.array(6.0), jnp.asarray(y0), jnp.array(0.5), None, None, 5)
    tree = [{"a": jnp.asarray(x[:2]), "b": jnp.asarray(x[2:])} for x in (y0, y1, error)]
    seen = dict(zip(rec.NAMES, map(float, ctrl.record(jnp.array(1.0), jnp.array(1.25), *tree, 5, state)), strict=True))
    rms = np.sqrt(np.mean((error / scale) ** 2))
    wanted = {
        "err": rms, "h": 0.25, "h_free": 0.5, "order": 5.0, "truncated": 1.0, "finite": 1.0, "rtol": float(ctrl.rtol),
        "t_left": 5.0, "span": 5.0, "ynorm": np.sqrt(np.mean((y0 / scale) ** 2)),
        "enorm": np.abs(error / scale).max() / rms,
    }  # fmt: skip
    for name, value in seen.items():
        assert np.isnan(value) if name not in wanted else value == pytest.approx(wanted[name], rel=1e-14), name


def test_a_controllers_tolerance_scale_is_what_the_solve_works_at():
    learned = ss.controller("three-body-formula")
    assert learned.tolerance_scale > 2.0
    ctrl = learned.for_diffrax(RTOL, ATOL)
    assert float(ctrl.rtol) == pytest.approx(RTOL * learned.tolerance_scale, rel=1e-15)
    assert float(ctrl.atol) == pytest.approx(ATOL * learned.tolerance_scale, rel=1e-15)
    s = learned.tolerance_scale
    same(of(ctrl, "dopri5"), of(learned.unscaled().for_diffrax(RTOL * s, ATOL * s), "dopri5"), 1e-12)


def test_what_a_controller_cannot_see_is_named():
    with pytest.raises(ValueError, match="log_curv.*hs, curv"):
        ss.controller("three-body").for_diffrax()
    with pytest.raises(ValueError, match="Jacobian"):
        ss.controller("stiff").for_diffrax()
    with pytest.raises(TypeError, match="a controller is needed"):
        host.step_size_controller(object())


# -- a PyTree ----------------------------------------------------------------------------------------------------------


def test_other_weights_and_other_laws_of_the_structure_run_in_the_same_program():
    traces = []

    def watched(t, y, args):
        traces.append(t)
        return -y

    @jax.jit
    def end(ctrl):
        return solved(ctrl, watched, dfx.Tsit5(), (0.0, 5.0), jnp.ones(2), saveat=dfx.SaveAt(t1=True)).stats

    learned = ss.controller("lorenz96")
    first = end(learned.for_diffrax())
    n = len(traces)
    assert n
    ctrl = learned.for_diffrax()
    end(eqx.tree_at(lambda c: c.params, ctrl, ctrl.params * 1.01))
    end(learned.unscaled().for_diffrax(1e-3, 1e-3))
    assert len(traces) == n
    law = ss.controller("i")
    end(law.for_diffrax())
    m = len(traces)
    assert m > n
    assert end(law.replace("x", safety=0.5).for_diffrax())["num_steps"] > first["num_steps"]
    assert len(traces) == m
    # a law of another structure has other parameters: they do not fit where they would be ignored in part
    other = ss.controller("h211b")
    assert other.known != law.known and len(other.for_diffrax().params) > len(law.for_diffrax().params)
    with pytest.raises(ValueError, match="parameters"):
        end(eqx.tree_at(lambda c: c.params, law.for_diffrax(), other.for_diffrax().params))


def test_flatten_pickle_and_copy():
    ctrl = ss.controller("pi34").for_diffrax(dtmin=1e-12)
    leaves, tree = jax.tree.flatten(ctrl)
    assert len(leaves) == 4 and all(isinstance(x, jax.Array) for x in leaves)
    for again in (jax.tree.unflatten(tree, leaves), pickle.loads(pickle.dumps(ctrl)), copy.deepcopy(ctrl)):
        assert eqx.tree_equal(again, ctrl) and jax.tree.structure(again) == tree
        same(of(again, "dopri5"), of(ctrl, "dopri5"), 0.0)


def test_many_solves_at_once_have_sizes_of_their_own():
    ctrl = ss.controller("h211b").for_diffrax()

    @jax.jit
    @jax.vmap
    def ends(mu):
        y0 = jnp.array([2.0, 0.0])
        sol = solved(ctrl, relaxation, dfx.Tsit5(), (0.0, 5.0), y0, mu, saveat=dfx.SaveAt(t1=True))
        return sol.ys[0], sol.stats["num_steps"]

    mus = jnp.array([0.1, 3.0, 9.0])
    ys, counts = ends(mus)
    for mu, y, n in zip(mus, ys, counts, strict=True):
        alone = solved(ctrl, relaxation, dfx.Tsit5(), (0.0, 5.0), jnp.array([2.0, 0.0]), mu)
        assert int(n) == int(alone.stats["num_steps"])
        np.testing.assert_allclose(y, alone.ys[len(steps(alone)) - 1], rtol=1e-7)


@pytest.mark.parametrize(
    ("adjoint", "name"),
    [
        (dfx.RecursiveCheckpointAdjoint(), "lorenz96"), (dfx.RecursiveCheckpointAdjoint(), "diffrax"),
        (dfx.DirectAdjoint(), "diffrax"), (dfx.BacksolveAdjoint(), "diffrax"), (dfx.ForwardMode(), "diffrax"),
    ],
    ids=lambda a: a if isinstance(a, str) else type(a).__name__,
)  # fmt: skip
def test_gradients_are_those_under_a_pid_controller(adjoint, name):
    forward = isinstance(adjoint, dfx.ForwardMode)

    def loss(x, ctrl):
        options = {"saveat": dfx.SaveAt(t1=True), "adjoint": adjoint, "max_steps": 128}
        if name == "diffrax" and not isinstance(adjoint, dfx.RecursiveCheckpointAdjoint):  # less to compile
            y0 = jnp.stack([x[0], 1.0])
            return jnp.sum(solved(ctrl, decay, dfx.Bosh3(), (0.0, 2.0), y0, x[1], **options).ys ** 2)
        y0 = jnp.stack([x[0], 0.0])
        return jnp.sum(solved(ctrl, relaxation, dfx.Tsit5(), (0.0, 2.0), y0, x[1], **options).ys ** 2)

    @eqx.filter_jit
    def gradient(ctrl):
        x = jnp.array([2.0, 1.5])
        return (jax.jacfwd if forward else jax.grad)(lambda x: loss(x, ctrl))(x)

    ours = gradient(ss.controller(name).for_diffrax(1e-5, 1e-7))
    # with another law the steps differ, and gradients by what the tolerance leaves
    close = 1e-8 if name == "diffrax" else 1e-3
    np.testing.assert_allclose(ours, gradient(dfx.PIDController(1e-5, 1e-7)), rtol=close)


def test_the_controllers_parameters_get_no_gradient_and_time_bounds_do():
    def loss(params, t1, ctrl):
        ctrl = eqx.tree_at(lambda c: c.params, ctrl, params)
        end = dfx.SaveAt(t1=True)
        return solved(ctrl, decay, dfx.Tsit5(), (0.0, t1), jnp.ones(1), 1.0, dt0=0.01, saveat=end).ys[0, 0]

    ctrl = ss.controller("pi34").for_diffrax(1e-8, 1e-10, even_steps=True)
    params, t1 = jax.grad(loss, (0, 1))(ctrl.params, jnp.array(2.0), ctrl)
    assert not np.any(params)
    assert t1 == pytest.approx(-np.exp(-2.0), rel=1e-6)
