"""Laws against the codes that they come from: transcriptions, or the codes themselves, attempt by attempt."""

import math

import numpy as np
import pytest

from law_driver import Driver
from stepsmith.controllers.laws import registry
from stepsmith.controllers.laws.table import LAWS


def closed_loop_errors(seed):
    """Principal error functions phi of E = phi h^k: slow drift, noise, and a jump of e^12 now and then."""
    rng = np.random.default_rng(seed)
    drift = 0.0
    while True:
        drift += rng.normal(0, 0.15) + (12.0 * rng.choice([-1, 1]) if rng.random() < 0.05 else 0.0)
        yield math.exp(drift + rng.normal(0, 0.4))


def test_dopri5_f():
    """Transcription of the step-size part of dopri5.f (core routine DOPCOR)."""
    fac1, fac2, safe, beta = 0.2, 10.0, 0.9, 0.04
    for seed in range(20):
        driver, phi = Driver(registry.get("dopri5_pi")), closed_loop_errors(seed)
        h, facold, reject = 1.0, 1e-4, False
        for p in (next(phi) for _ in range(80)):
            err = p * h**5
            fac11 = err ** (0.2 - beta * 0.75)
            if err <= 1.0:
                fac = max(1 / fac2, min(1 / fac1, fac11 / facold**beta / safe))
                facold = max(err, 1e-4)
                expected = (True, min(1 / fac, 1.0) if reject else 1 / fac)
                reject = False
            else:
                expected, reject = (False, 1 / min(1 / fac1, fac11 / safe)), True
            got = driver(err, h)
            assert got == (expected[0], pytest.approx(expected[1], rel=1e-13))
            h *= got[1]


@pytest.mark.parametrize("name", [n for n in LAWS if LAWS[n][0] == "petsc"])
def test_petsc_dsp(name):
    """Transcription of TSAdaptChoose_DSP: its step ratios are the controller's outputs, and rejected attempts leave no
    trace.

    PETSc accepts by the factor alone; an error above 50 is rejected here, with the one-term law.
    """
    law = registry.get(name)
    b, a = [law[n] for n in ("b1", "b2", "b3")], [law["a2"], law["a3"]]
    k, rejections = 4.0, 0
    for seed in range(10):
        driver, phi = Driver(law), closed_loop_errors(seed)
        h, cerror, hratio = 1.0, [1.0, 1.0], [1.0, 1.0]
        for p in (next(phi) for _ in range(80)):
            err = p * h**k
            ctr0 = (1 / max(err, 1e-10)) ** (1 / k)
            rho0 = ctr0 ** b[0] * cerror[0] ** b[1] * cerror[1] ** b[2] * hratio[0] ** -a[0] * hratio[1] ** -a[1]
            rho0 = 1 + math.atan((rho0 if err <= 50.0 else ctr0) - 1)
            accept = rho0 >= 0.81
            got = driver(err, h, k)
            assert got == (accept, pytest.approx(min(max(rho0, 0.1), 10.0), rel=1e-11))
            if accept:
                cerror, hratio = [ctr0, cerror[0]], [rho0, hratio[0]]
            rejections += not accept
            h *= got[1]
    assert rejections > 20


@pytest.mark.parametrize("name", [n for n in LAWS if LAWS[n][0] == "petsc"])
@pytest.mark.parametrize("before", [1e-10, 1e-4, 1.0])
def test_a_law_that_accepts_by_its_factor_rejects_large_errors(name, before):
    """After steps of tiny error the factor of a filter stays above .81 at any error (it accepted 14,852 tolerances in a
    fuzzed case).
    """
    driver, h = Driver(registry.get(name)), 0.1
    for _ in range(3):
        accept, factor = driver(before, h, 5.0)
        assert accept
        h *= factor
    for err in (50.1, 1e3, 1e6, 1e12):
        accept, factor = driver(err, h, 5.0)
        assert not accept and factor <= 0.81


@pytest.mark.parametrize("truncated", [0.0, 1.0])
@pytest.mark.parametrize("name", [n for n in LAWS if LAWS[n][0] == "petsc"])
def test_a_law_that_accepts_by_its_factor_does_not_get_stuck(name, truncated):
    """A jump of the error by 1e6 costs a few rejections, also where it meets an attempt that was cut short."""
    driver, h, tries = Driver(registry.get(name)), 0.1, 0
    for _ in range(5):
        assert driver(1.0, h, 5.0) == (True, pytest.approx(1.0))
    h *= 0.1 if truncated else 1.0
    scale = 1e6 / h**5
    accept, factor = driver(scale * h**5, h, 5.0, truncated=truncated)
    assert not accept
    while not accept and tries < 50:
        h, tries = h * factor, tries + 1
        accept, factor = driver(scale * h**5, h, 5.0)
    assert tries <= 5


@pytest.mark.parametrize("name", [n for n in LAWS if LAWS[n][0] == "sundials"])
def test_arkode_soderlind_module(name):
    """Transcription of SUNAdaptController_EstimateStep_Soderlind with arkAdapt's bounds, on accepted
    steps.
    """
    law = registry.get(name)
    k1, k2, k3, k4, k5 = law["b1"], law["b2"], law["b3"], -law["a2"], -law["a3"]
    rng = np.random.default_rng(4)
    driver, ep, epp, hp, hpp, steps = Driver(law), 1.0, 1.0, 1.0, 1.0, 0
    for _ in range(60):
        h, dsm, order = 10 ** rng.uniform(-2, 0), 10 ** rng.uniform(-12, 0), 4
        e1, e2, e3 = max(dsm, 1e-10), max(ep, 1e-10), max(epp, 1e-10)
        eta = e1 ** (-k1 / order)
        if steps >= 1:
            eta *= e2 ** (-k2 / order) * (h / hp) ** k4
        if steps >= 2:
            eta *= e3 ** (-k3 / order) * (hp / hpp) ** k5
        eta = max(min(0.9 * eta, 20.0 if steps else 1e4), 0.1)
        assert driver(dsm, h, float(order)) == (True, pytest.approx(eta, rel=1e-11))
        ep, epp, hp, hpp, steps = dsm, ep, h, hp, steps + 1


def test_scipy_rk45_steps_are_reproduced():
    """Every attempt of SciPy's RK45, replayed: same decisions, same next size."""
    integrate = pytest.importorskip("scipy.integrate")

    class Logged(integrate.RK45):
        def __init__(self, *args, **kwargs):
            self.log = []
            super().__init__(*args, **kwargs)

        def _estimate_error_norm(self, K, h, scale):
            norm = super()._estimate_error_norm(K, h, scale)
            self.log.append((abs(h), norm))
            return norm

    def vdp(t, y):
        return [y[1], 20 * (1 - y[0] ** 2) * y[1] - y[0]]

    solver = Logged(vdp, 0.0, [2.0, 0.0], 60.0, rtol=1e-5, atol=1e-8)
    driver, rejected, replayed = Driver(registry.get("scipy")), 0, 0
    while solver.status == "running":
        solver.log.clear()
        solver.step()
        if solver.t == 60.0:
            break
        for i, (h, err) in enumerate(solver.log):
            accept, factor = driver(err, h)
            last = i == len(solver.log) - 1
            assert accept is last
            following = solver.h_abs if last else solver.log[i + 1][0]
            assert h * factor == pytest.approx(following, rel=1e-14 if last else 1e-12)
            rejected += not accept
            replayed += 1
    assert rejected > 20 and replayed > 300


def test_scipy_radau_predictor():
    radau = pytest.importorskip("scipy.integrate._ivp.radau")
    rng = np.random.default_rng(0)
    for _ in range(200):
        driver = Driver(registry.get("scipy_radau"))
        h_old, err_old, n = 10 ** rng.uniform(-2, 0), 10 ** rng.uniform(-3, 0), float(rng.integers(1, 7))
        h, err = h_old * 10 ** rng.uniform(-0.5, 0.5), 10 ** rng.uniform(-3, 1)
        driver(err_old, h_old, 4.0, newton_iters=2.0)
        safety = 0.9 * 13 / (12 + n)
        factor = safety * radau.predict_factor(h, h_old, err, err_old)
        if err > 1:
            expected = max(0.2, factor)
        else:
            factor = min(10.0, factor)
            expected = factor if factor >= 1.2 else 1.0
        assert driver(err, h, 4.0, newton_iters=n) == (err <= 1, pytest.approx(expected, rel=1e-12))


def test_torchdiffeq_factor():
    torch = pytest.importorskip("torch")
    misc = pytest.importorskip("torchdiffeq._impl.misc")
    law = registry.get("torchdiffeq")
    for err in [0.0, 1e-9, 0.2, 0.7, 0.999, 1.0, 1.3, 50.0, 1e9]:
        expected = misc._optimal_step_size(
            *(torch.tensor(x, dtype=torch.float64) for x in (0.1, err, 0.9, 10.0, 0.2)), 5
        )
        if err == 1.0:
            continue  # torchdiffeq accepts E = 1 and shrinks; here an accepted step never shrinks
        assert Driver(law)(err) == (err <= 1, pytest.approx(float(expected) / 0.1, rel=1e-12))


def test_torchode_factors():
    torch = pytest.importorskip("torch")
    ssc = pytest.importorskip("torchode.step_size_controllers")
    pid = ssc.PIDController(1e-6, 1e-6, 0.4, 0.3, 0.1)
    law = registry.get("torchode", b1=0.8, b2=-0.6, b3=0.1, reject_max=1.0)
    driver = Driver(law)
    errors = [0.3, 0.8, 0.1, 0.5]
    for i, err in enumerate(errors):
        past = [1.0, 1.0, *errors[:i]]
        state = ssc.PIDState(5, *(torch.tensor([x], dtype=torch.float64) for x in (past[-1], past[-2], 1e-38)))
        expected = float(pid.dt_factor(state, torch.tensor([err], dtype=torch.float64)))
        assert driver(err) == (True, pytest.approx(expected, rel=1e-12))
