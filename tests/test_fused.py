"""Small networks written out as one function of a lane: the same decisions as phase by phase; and the laws they stand
on.
"""

import numpy as np
import pytest

from stepsmith.controllers import resolve
from stepsmith.controllers.laws import registry
from stepsmith.controllers.laws.law import Law
from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.network import Learned
from stepsmith.integrators import problems
from stepsmith.integrators.compile.cache import Recent
from stepsmith.integrators.engine import ensemble
from stepsmith.integrators.engine.ensemble import solve_ensemble
from stepsmith.integrators.kernels import fuse

FEATURES = ("log_err", "log_err_1", "log_ratio_1", "log_left", "log_hs", "streak")


def make(activation, squash, **rest):
    return Learned.random(
        Decision(FEATURES, "i", **rest), hidden=(5,), rng=3, scale=0.7, activation=activation, squash=squash
    )


def run(controller, monkeypatch, largest):
    monkeypatch.setattr(fuse, "LARGEST", largest)
    monkeypatch.setattr(ensemble, "_KERNELS", Recent())
    batch = problems.family("lotka_volterra").split("train", 40, 0)
    return solve_ensemble(batch, "tsit5", controller, 1e-5, 1e-5, threads=1)


@pytest.mark.parametrize(("activation", "squash"), [("relu", "clip"), ("tanh", "tanh")])
def test_fused_network_decides_as_its_phases(activation, squash, monkeypatch):
    controller = make(activation, squash, shift=[0.1, 0, 0, 0, 0, 0], scale=[1, 2, 1, 1, 1, 1], obs_clip=3.0)
    one, many = run(controller, monkeypatch, 256), run(controller, monkeypatch, 0)
    # rounding differs (which products are contracted), and a difference of an ulp in a step grows a little
    assert np.array_equal(one.stats.naccept, many.stats.naccept) and np.array_equal(
        one.stats.nreject, many.stats.nreject
    )
    assert one.stats.naccept.sum() > 500 and one.stats.nreject.sum() > 0
    np.testing.assert_allclose(one.y, many.y, rtol=1e-9)


def test_fused_network_with_nan_falls_back_and_is_counted(monkeypatch):
    controller = make("relu", "clip")
    weights = controller.weights
    weights[0] = np.nan
    one = run(controller.with_weights(weights), monkeypatch, 256)
    law = solve_ensemble(
        problems.family("lotka_volterra").split("train", 40, 0), "tsit5", registry.get("i"), 1e-5, 1e-5, threads=1
    )
    assert np.array_equal(one.stats.nfallback, one.stats.naccept + one.stats.nreject)
    np.testing.assert_allclose(one.y, law.y, rtol=1e-9)


def test_only_small_networks_are_fused():
    assert fuse.small(make("relu", "clip").phases)
    assert not fuse.small(Learned.random(Decision(FEATURES, "i"), hidden=(64,), rng=0).phases)
    assert not fuse.small(registry.get("i").phases)


def test_law_without_its_idle_extras_decides_bit_for_bit_alike(monkeypatch):
    law = registry.get("predictive")
    short = law.specialised()
    assert law.known == ((), ()) and len(short.known[0]) >= 3
    a, b = run(law, monkeypatch, 256), run(short, monkeypatch, 256)
    assert np.array_equal(a.y, b.y) and np.array_equal(a.stats.nfev, b.stats.nfev)


def test_base_law_by_name_table_and_object():
    tuned = resolve.controller("tuned", "three_body")
    assert resolve.base_law("tuned", "three_body").values == tuned.values
    assert resolve.base_law(tuned, "three_body") is tuned
    changed = resolve.base_law({"base": "tuned", "kappa": 0.0}, "three_body")
    assert (
        isinstance(changed, Law)
        and changed.values == {**tuned.values, "kappa": 0.0}
        and changed.name == "tuned, changed"
    )
    with pytest.raises(ValueError, match="needs a 'base'"):
        resolve.base_law({"kappa": 0.0}, "three_body")
    with pytest.raises(ValueError, match="safety"):
        resolve.base_law({"base": "i", "safty": 0.9}, "three_body")
