"""The network of a controller as an ONNX model, run by onnxruntime."""

from __future__ import annotations

import importlib
import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import stepsmith as ss
from exported import ZOO, controller, drawn
from stepsmith.controllers import export
from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.features import FEATURES
from stepsmith.controllers.learned.network import Learned
from stepsmith.integrators.core import record as rec
from stepsmith.integrators.core.runner import Runner

TORCH = {
    "tanh": torch.tanh, "relu": torch.relu, "elu": torch.nn.functional.elu, "silu": torch.nn.functional.silu,
    "gelu": torch.nn.functional.gelu, "gelu_tanh": lambda z: torch.nn.functional.gelu(z, approximate="tanh"),
    "leaky_relu(0.07)": lambda z: torch.nn.functional.leaky_relu(z, 0.07), "linear": lambda z: z,
}  # fmt: skip
NAMES = ("log_err", "log_ratio_1", "log_err_1")
TABLE = [[a, b] for a in (-1.0, 0.3, 0.0) for b in (-0.5, 0.7)]


def network(activation="tanh", squash="clip", frames=1, table=None, plain=False, seed=8):
    """A network that no file ships, with a normaliser."""
    rng = np.random.default_rng(seed)
    norm = {} if plain else {"shift": [0.1, -0.2, 0.3], "scale": [0.5, 2.0, 1.0], "obs_clip": 1.5}
    sizes = [3 * frames, 6, 5, 2 if table is None else len(table)]
    layers = [
        (rng.normal(0, 0.9, (b, a)), rng.normal(0, 0.3, b), act)
        for a, b, act in zip(sizes[:-1], sizes[1:], (activation, activation, "linear"), strict=True)
    ]
    return Learned(Decision(NAMES, "h211b", **norm), layers, squash, table, frames=frames)


def run(model, features):
    """What onnxruntime gives, from the bytes of the model."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["action"], {"features": np.asarray(features, np.float64)})[0]


def by_torch(one, features):
    """The same by torch's own layers."""
    d, x = one.decision, torch.tensor(features)
    shift, scale = (torch.tensor(np.tile(v, one.frames)) for v in (d.shift, d.scale))
    z = torch.clamp((x - shift) * scale, -d.obs_clip, d.obs_clip)
    for weight, bias, activation in one.layers:
        z = TORCH[activation](torch.nn.functional.linear(z, torch.tensor(weight), torch.tensor(bias)))
    if one.table is not None:
        return one.table[z.argmax(1).numpy()]
    return (torch.tanh(z) if one.squash == "tanh" else torch.clamp(z, -1.0, 1.0)).numpy()


CASES = [
    *(controller(name) for name in ZOO), *(network(activation) for activation in TORCH), network(squash="tanh"),
    network("relu", "argmax", 1, TABLE), network(frames=4), network("silu", "argmax", 3, TABLE), network(plain=True),
]  # fmt: skip


@pytest.mark.parametrize("one", CASES, ids=lambda one: f"{one.name} {one.squash} {one.frames} {one.shapes[0][2]}")
def test_onnxruntime_answers_as_torch(one):
    model = export.onnx_model(one)
    onnx.checker.check_model(model, full_check=True)
    x = np.random.default_rng(1).normal(0, 1.5, (200, one.frames * one.decision.n_obs))
    found = run(model, x)
    assert found.dtype == np.float64 and found.shape == (200, one.decision.n_act)
    assert np.abs(found).max() <= 1.0 and len(np.unique(found)) > 3
    np.testing.assert_allclose(found, by_torch(one, x), rtol=0.0, atol=1e-13)


@pytest.mark.parametrize("one", CASES[-9:], ids=lambda one: f"{one.squash} {one.frames} {one.shapes[0][2]}")
def test_with_the_hosts_features_it_answers_as_the_controller_at_work(one):
    """A host's whole way: features by the published table, frames filled with the normaliser's shift."""
    d, model = one.decision, export.onnx_model(one)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    facts = {prop.key: prop.value for prop in model.metadata_props}
    listed = json.loads(facts["stepsmith.features"])
    shift = json.loads(facts["stepsmith.normaliser"])["shift"]
    seen = np.tile(shift, one.frames)
    runner = Runner(one, 1)
    rows = drawn(30, 6)
    rows[~np.isfinite(rows[:, rec.H]) | (rows[:, rec.H] <= 0.0), rec.H] = 0.1
    moved = set()
    for row in rows:
        head = [float(s[0]) if np.ndim(s) else float(s) for s in runner.state[:6]]
        raw = []
        for f in listed:
            with np.errstate(all="ignore"):
                value = float(FEATURES[f["name"]].fn(head, list(row)))
            value = (min(max(value, f["clip"][0]), f["clip"][1]) - f["shift"]) * f["scale"]
            raw.append(0.0 if np.isnan(value) else value)
        seen = np.concatenate([seen[d.n_obs :], raw])
        found = session.run(["action"], {"features": seen[None]})[0][0]
        runner.decide(list(row[:, None]))
        acts = np.array([float(x) for x in runner.state[d.act_at : d.act_at + d.n_act]])  # before the squash
        wanted = np.clip(acts, -1, 1) if one.squash == "clip" else np.tanh(acts) if one.squash == "tanh" else acts
        np.testing.assert_allclose(found, wanted, rtol=0.0, atol=1e-13)
        moved |= set(found)
    assert len(moved) > 2


@pytest.mark.parametrize("one", [network(), network(squash="tanh"), network("relu", "argmax", 1, TABLE)])
def test_an_answer_that_is_no_number_is_none(one):
    weights = one.weights
    weights[-1] = np.inf
    broken = one.with_weights(weights)
    found = run(export.onnx_model(broken), np.zeros((3, 3)))
    wanted = broken.action_numpy(np.clip(-one.decision.shift * one.decision.scale, -1.5, 1.5))
    assert np.isnan(wanted).any() and np.array_equal(np.isnan(found), np.tile(np.isnan(wanted), (3, 1)))


def test_the_metadata_hold_what_a_host_needs_besides():
    one = controller("e5")
    facts = {prop.key: prop.value for prop in export.onnx_model(one).metadata_props}
    assert facts["stepsmith.name"] == "e5" and facts["stepsmith.method"] == "rodas5p"
    assert "0 for NaN" in facts["stepsmith.how"]
    read = {key.removeprefix("stepsmith."): json.loads(facts[key]) for key in facts if key.endswith(
        (".features", ".actions", ".law", ".tolerance_scale", ".document", ".frames"))}  # fmt: skip
    assert read["tolerance_scale"] == one.tolerance_scale != 1.0 and read["frames"] == 1
    (feature,) = read["features"]
    assert feature["name"] == "log_left" and feature["clip"] == [-12.0, 0.0] and feature["slots"] == ["h", "t_left"]
    assert [a["turns"] for a in read["actions"]] == ["size", "threshold"]
    assert read["actions"][1]["scale"] == one.decision.threshold_scale
    coefficients = {k: v for k, v in read["law"]["coefficients"].items() if not isinstance(v, str)}
    assert coefficients["b1"] == one.decision.law["b1"] and coefficients["a2"] == one.decision.law["a2"]
    assert read["document"]["provenance"]["seed"] == one.provenance["seed"]


def test_what_has_no_network_is_refused():
    for one in (ss.controller("pi34"), Decision(("log_err",), "i"), object()):
        with pytest.raises(ValueError, match="has no network"):
            export.onnx_model(one)


def test_without_onnx_the_message_says_how_to_install_it(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r"pip install 'stepsmith\[onnx\]'"):
        export.onnx_model(controller("three-body"))
