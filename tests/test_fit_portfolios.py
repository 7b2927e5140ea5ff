"""The portfolios that a fit proposes, and the file that one is written into."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

import stepsmith as ss
from stepsmith.integrators.core.errors import OptionError
from stepsmith.train.fit import portfolios
from stepsmith.train.fit.report import Fit

WORK = {"tsit5": 900.0, "vern7": 700.0, "bs32": 5000.0, "rodas5p": 300.0, "radau5": 250.0, "hermite4": 1.0}


def found(*names):
    return [SimpleNamespace(method=name) for name in names]


def work(candidate):
    return WORK[candidate.method]


def test_the_cheapest_of_each_kind():
    assert portfolios.pair(found("tsit5", "vern7", "rodas5p", "radau5"), work) == ("vern7", "radau5")
    assert portfolios.pair(found("tsit5", "vern7"), work) is None
    assert portfolios.pair(found("rodas5p", "hermite4"), work) is None  # N-body methods share no state


def test_two_that_are_far_apart_are_not_put_together():
    def share(ratio):
        return portfolios.pair(found("tsit5", "rodas5p"), lambda c: ratio if c.method == "tsit5" else 1.0)

    assert share(29.0) == share(1.0 / 29.0) == ("tsit5", "rodas5p")
    assert share(31.0) is share(1.0 / 31.0) is None


def test_rules_that_the_methods_can_serve():
    def rules(*names):
        return [made.rule.name for made in portfolios.controllers(names)]

    assert rules("tsit5", "rodas5p") == ["auto_switch", "hairer", "race"] and rules("bs32", "rodas5p") == ["race"]


@dataclass(frozen=True)
class Part:
    method: str
    costs: float


def test_a_portfolio_pays_for_linear_algebra_what_its_implicit_method_pays():
    split = portfolios.split_of("tsit5+rodas5p", lambda name: Part(name, WORK[name]))
    assert split == Part("tsit5+rodas5p", WORK["rodas5p"])


def test_what_is_recommended_is_written_down_by_name(tmp_path: Path):
    made = ss.portfolio("tsit5+rodas5p", "race")
    assert Fit._controller(SimpleNamespace(chosen=SimpleNamespace(controller=made)), tmp_path) == "race"
    file = tmp_path / "recommended.toml"
    file.write_text('method = "tsit5+rodas5p"\ncontroller = "race"\nrtol = 1e-6\natol = 1e-9\n')
    assert ss.settings(file) == {"method": "tsit5+rodas5p", "controller": "race", "rtol": 1e-6, "atol": 1e-9}
    file.write_text('method = "tsit5+tsit5"\ncontroller = "race"\nrtol = 1e-6\natol = 1e-9\n')
    with pytest.raises(OptionError, match="holds a method once"):
        ss.settings(file)
