"""Every controller of the zoo goes into solvers that show no stages, itself or by a variant that reads none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import stepsmith as ss
from stepsmith.controllers import zoo
from stepsmith.controllers.hosts.fitting import ENDS, NORMS, TIER0, fit

#: what a variant is called behind the name of the controller that it stands in for
ENDINGS = ("", "-tier1", "-formula")
#: hosts that show no stages, with what puts a controller into them
HOSTS = {
    "scipy": lambda c: c.for_scipy("RK45"),
    "radau": lambda c: c.for_scipy("Radau"),
    "torchode": lambda c: c.for_torchode(1e-6, 1e-6),
    "diffrax": lambda c: c.for_diffrax(rtol=1e-6, atol=1e-6),
}
#: variants for implicit methods
STIFF = ("stiff-tier1", "steppo-tier1")
MU = 30.0

pytestmark = pytest.mark.filterwarnings("ignore:controller .* was trained with method")


def loads(name, host):
    """Whether the host takes the controller of the zoo that is called that."""
    try:
        HOSTS[host](ss.controller(name))
    except ValueError as refused:
        assert "cannot run controller" in str(refused)
        return False
    return True


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("name", zoo.names())
def test_each_or_its_variant_loads(name, host):
    if host in ("torchode", "diffrax"):
        pytest.importorskip(host)
    assert any(name + ending in zoo.names() and loads(name + ending, host) for ending in ENDINGS)


@pytest.mark.parametrize("name", [name for name in zoo.names() if name.endswith(ENDINGS[1:])])
def test_a_variant_asks_for_no_more_than_its_tier(name):
    controller = ss.controller(name)
    assert controller.decision.observation.tier <= 1 and not controller.decision.algebraic
    assert fit(controller, "a host without stages", TIER0 | NORMS | ENDS) is controller
    whole = ss.controller(name.removesuffix("-tier1").removesuffix("-formula"))
    assert (controller.family, controller.trained_method) == (whole.family, whole.trained_method)


def relaxation(t, y):
    return np.array([y[1], MU * (1.0 - y[0] ** 2) * y[1] - y[0]])


@pytest.fixture(scope="module")
def known():
    return solve_ivp(relaxation, (0.0, 40.0), [2.0, 0.0], method="Radau", rtol=1e-10, atol=1e-12).y[:, -1]


@pytest.mark.parametrize("method", ["Radau", "BDF"])
@pytest.mark.parametrize("name", STIFF)
def test_stiff_variants_solve_in_scipy(known, name, method):
    made = ss.controller(name).for_scipy(method)
    found = solve_ivp(relaxation, (0.0, 40.0), [2.0, 0.0], method=made, rtol=1e-6, atol=1e-9)
    assert found.success and np.allclose(found.y[:, -1], known, rtol=0.0, atol=2e-3)


@pytest.mark.parametrize("name", STIFF)
def test_stiff_variants_solve_in_diffrax(known, name):
    dfx, jax = pytest.importorskip("diffrax"), pytest.importorskip("jax")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        term = dfx.ODETerm(lambda t, y, args: jax.numpy.stack([y[1], MU * (1.0 - y[0] ** 2) * y[1] - y[0]]))
        sizes = ss.controller(name).for_diffrax(rtol=1e-6, atol=1e-9)
        found = dfx.diffeqsolve(
            term, dfx.Kvaerno5(), 0.0, 40.0, None, jax.numpy.array([2.0, 0.0]), stepsize_controller=sizes,
            max_steps=20_000,
        )  # fmt: skip
        assert np.allclose(np.asarray(found.ys[-1]), known, rtol=0.0, atol=2e-3)
    finally:
        jax.config.update("jax_enable_x64", before)
