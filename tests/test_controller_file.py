"""Controller files: what is written comes back, what could not be read is not written, names find files."""

from pathlib import Path

import numpy as np
import pytest

import stepsmith
from controller_files import DEEP, MAKERS, network, parts, same
from stepsmith.controllers import file, zoo
from stepsmith.controllers.laws import registry
from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.network import Learned
from stepsmith.controllers.learned.observation import FEATURES, TIER0


@pytest.fixture
def saved(tmp_path):
    """Path of a file that holds the network."""
    return file.save(network(), tmp_path / "c.safetensors")


@pytest.mark.parametrize("make", MAKERS)
def test_round_trip(make, tmp_path):
    c = make()
    back = file.load(file.save(c, tmp_path / "c.safetensors"))
    assert same(back, c) and back.name == c.name and back.family == c.family and back.squash == c.squash
    assert back.decision.law.as_dict() == c.decision.law.as_dict()
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]


def test_provenance_and_figures_come_back(saved):
    back = file.load(saved)
    assert back.provenance == {"seed": 3, "versions": {"numpy": np.__version__}, "steps": 10}
    assert back.measured == {"ratio": 0.64, "interval": [0.6, 0.7]}


def test_other_programs_can_read_the_parts(saved):
    doc, arrays = parts(saved)
    assert doc["format"] == "stepsmith-controller" and doc["schema"] == 1
    assert [f["name"] for f in doc["observation"]["features"]] == list(TIER0)
    assert doc["law"]["coefficients"]["b1"] == 0.7 and doc["law"]["coefficients"]["fmax"] == 10.0
    assert {k: v.shape for k, v in arrays.items()} == {
        "layers.0.weight": (6, 8), "layers.0.bias": (6,), "layers.1.weight": (5, 6), "layers.1.bias": (5,),
        "layers.2.weight": (2, 5), "layers.2.bias": (2,), "normaliser.shift": (8,), "normaliser.scale": (8,),
    }  # fmt: skip


def test_a_coefficient_younger_than_the_schema_stands_only_where_it_is_used(tmp_path):
    for name, expected in (("pi34", None), ("h321", 1.0)):
        law = registry.get(name)
        path = file.save(
            Learned.random(Decision(["log_err"], law), hidden=(3,), rng=0), tmp_path / f"{name}.safetensors"
        )
        doc, _ = parts(path)
        assert doc["law"]["coefficients"].get("own_ratios") == expected
        assert file.load(path).decision.law.as_dict() == law.as_dict()


def test_what_cannot_be_read_is_not_written(tmp_path):
    c = network()
    path = tmp_path / "c.safetensors"
    cases = [
        (c.with_weights(np.full(c.n_weights, np.nan)), "not finite"),
        (c.replace(provenance={"x": float("nan")}), "must be JSON"),
        (c.replace(measured={"x": object()}), "must be JSON"),
        (c.replace(provenance={"deep": DEEP}), "nested"),
        (c.replace(name="x" * 3000), "name must be text"),
        (registry.get("pi34"), "only learned controllers go into a file, got Law"),
    ]
    for bad, message in cases:
        with pytest.raises(ValueError, match=message):
            file.save(bad, path)
    with pytest.raises(ValueError, match="must end in .safetensors"):
        file.save(c, tmp_path / "c.bin")
    assert list(tmp_path.iterdir()) == []


def test_too_large_a_file_is_not_read(tmp_path, monkeypatch):
    path = file.save(network(), tmp_path / "c.safetensors")
    monkeypatch.setattr(file.reading, "MAX_FILE", 100)
    with pytest.raises(ValueError, match="more than the limit of 100"):
        file.load(path)


def test_load_controller(tmp_path, monkeypatch):
    c = network()
    path = file.save(c, tmp_path / "bumpy-orbits.safetensors")
    assert same(file.load_controller(path), c) and same(file.load_controller(str(path)), c)
    assert same(stepsmith.controller(path), c) and same(stepsmith.controller(str(path)), c)
    monkeypatch.chdir(tmp_path)
    assert same(file.load_controller("bumpy-orbits.safetensors"), c)
    with pytest.raises(FileNotFoundError):
        file.load_controller(tmp_path / "none.safetensors")
    monkeypatch.setattr(zoo, "names", lambda: ["bumpy-orbits", "smooth"])
    monkeypatch.setattr(zoo, "read", lambda name: path.read_bytes())
    assert same(file.load_controller("bumpy-orbits"), c)
    with pytest.raises(ValueError, match="unknown controller 'bumpy_orbit': did you mean 'bumpy-orbits'"):
        file.load_controller("bumpy_orbit")


def test_every_controller_of_the_zoo_can_be_read_and_has_a_card():
    for name in zoo.names():
        c = file.load_controller(name)
        assert c.provenance and c.measured and zoo.card(name).startswith("# ")


def test_the_specification_names_every_feature():
    text = (Path(__file__).parent.parent / "docs" / "controller_file.md").read_text(encoding="utf-8")
    assert [name for name in FEATURES if f"`{name}`" not in text] == []


@pytest.mark.parametrize("make", MAKERS)
def test_describe(make):
    c = make()
    text = file.describe(c)
    assert c.name in text.splitlines()[0] and c.decision.law.name in text and f"{c.n_weights} weights" in text
    for name in c.decision.observation.features:
        assert f"{name}: " in text
    for key in c.provenance:
        assert key in text
