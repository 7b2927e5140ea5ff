"""Costs of linear algebra: the weighted sum, what is measured, and what is refused."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from stepsmith.integrators import problems
from stepsmith.integrators.engine import costs
from stepsmith.integrators.engine.costs import NONE, Costs


def stats(**counts):
    return SimpleNamespace(**{k: np.array(v) for k, v in counts.items()})


def test_the_weighted_sum():
    s = stats(nfev=[10, 0], njev=[2, 0], nlu=[3, 0], nsolve=[8, 0])
    # nothing done counts as one: logarithms follow
    np.testing.assert_allclose(
        Costs(1.5, 4.0, 0.25).work(s), [10 + 3 + 12 + 2, 1.0]
    )
    np.testing.assert_array_equal(NONE.work(s), [10.0, 1.0])


@pytest.mark.parametrize("bad", [{"jacobian": -1.0}, {"lu": np.nan}, {"solve": np.inf}])
def test_bad_costs_are_refused(bad):
    with pytest.raises(ValueError, match=f"cost of {next(iter(bad))}"):
        Costs(**bad)


def test_explicit_methods_have_none():
    assert costs.of_family("lorenz", "dopri5") is NONE


def test_larger_systems_pay_more_for_their_factors():
    small, large = (
        costs.measure(problems.family(name).split("train", 8, 0), "esdirk43", rounds=3)
        for name in ("vdpol_stiff", "pollu")
    )
    for c in (small, large):
        assert c.jacobian >= 0.0 and c.lu > 0.0 and c.solve > 0.0 and 0.0 < c.seconds < 1e-4
    # 20 unknowns against 2: n^3/3 against n^3/3 multiplications, 1000 times as many; timing is not that exact
    assert large.lu * large.seconds > 20.0 * small.lu * small.seconds
    assert large.lu > 1.5 * large.solve
    with pytest.raises(ValueError, match="at least one"):
        costs.measure(problems.family("pollu").split("train", 0, 0), "esdirk43")
