"""The tuned laws that ship: found under their names, made as they say, and cheaper than the published law that they
started from.
"""

import json

import numpy as np
import pytest

from stepsmith.controllers.laws import registry, tuned
from stepsmith.integrators import methods, problems
from stepsmith.integrators.problems import suites
from stepsmith.train.evaluate.splits import draw
from stepsmith.train.tune.objective import Objective

FILES = sorted(tuned.SHIPPED.glob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_shipped_file_is_sane(path, monkeypatch, tmp_path):
    monkeypatch.setenv("STEPSMITH_DATA_DIR", str(tmp_path))  # a user's own files would come first
    law, facts = tuned.read(path)
    assert path.name == tuned.file_name(facts["family"], facts["method"]) and path.stem in tuned.names()
    assert facts["family"] in (*problems.names(), *suites.SUITES) and facts["method"] in methods.names()
    assert tuned.tuned(facts["family"], facts["method"]).as_dict() == law.as_dict()
    assert np.isfinite(law.params).all()
    assert facts["base"] in registry.names("linear") or facts["base"] == "start" in facts
    # the best on the validation split, which the search did not see
    assert facts["validation"]["ratios"][facts["chosen"]] == 1.0 == min(facts["validation"]["ratios"].values())
    assert facts["train"]["cost"] <= facts["train"]["cost_published"]
    assert facts["budget"]["evaluations"] > 100 and facts["commit"] and facts["versions"]["numpy"]
    assert "/" not in json.dumps(facts["versions"])


@pytest.mark.parametrize("family, margin", [("kepler", 0.03), ("lorenz", 0.03)])
def test_it_pays_on_instances_that_nobody_has_seen(family, margin):
    objective = Objective([draw(family, None, "test", 24, 11)])
    best, worst = objective(tuned.read(tuned.SHIPPED / f"{family}-dopri5.json")[0]), objective(registry.get("pi34"))
    published = min(objective(registry.get(name)) for name in ("radau5", "rodas", "sundials_pi", "expgus"))
    assert best < published - margin and best < worst - margin
