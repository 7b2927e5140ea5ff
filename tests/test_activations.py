"""Activations of a controller's layers: against torch, and the same in every form; the slope is in the file."""

import math

import numpy as np
import pytest
import torch

from decisions import play_compiled, play_numpy, records
from stepsmith.controllers.file import document, load, save
from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.network import Learned
from stepsmith.integrators.core import activations, dense
from stepsmith.integrators.core.contract import Dense
from stepsmith.integrators.core.runner import Runner
from stepsmith.integrators.kernels import build

THEIRS = {
    "elu": torch.nn.ELU(), "silu": torch.nn.SiLU(), "gelu": torch.nn.GELU(),
    "gelu_tanh": torch.nn.GELU(approximate="tanh"), "leaky_relu(0.01)": torch.nn.LeakyReLU(),
    "leaky_relu(-0.25)": torch.nn.LeakyReLU(-0.25), "tanh": torch.nn.Tanh(), "relu": torch.nn.ReLU(),
    "linear": torch.nn.Identity(),
}  # fmt: skip
NEW = [name for name in THEIRS if name not in activations.PLAIN]


def make(activation, hidden=(5, 4)):
    decision = Decision(("log_err", "log_err_1", "log_ratio_1", "log_left"), "pi34")
    return Learned.random(decision, hidden, rng=1, scale=2.0, activation=activation, squash="clip")


@pytest.mark.parametrize("name", list(THEIRS))
def test_arrays_have_torchs_values(name):
    z = np.concatenate([np.linspace(-12, 12, 4801), [-700.0, 700.0, -1e200, 1e200, np.inf, np.nan, -0.0]])
    with np.errstate(all="ignore"):
        ours = dense.activate(z, name)
    np.testing.assert_allclose(ours, THEIRS[name](torch.tensor(z)).numpy(), rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(dense.activate(torch.tensor(z), name, torch).numpy(), ours, rtol=1e-14, atol=1e-15)


def test_erf_is_right_to_rounding():
    x = np.linspace(-9, 9, 3001)
    np.testing.assert_allclose(activations.erf(x), [math.erf(v) for v in x], rtol=1e-15, atol=0)


@pytest.mark.parametrize("written_out", [True, False])
@pytest.mark.parametrize("name", NEW)
def test_compiled_lanes_decide_as_numpy_and_torch(name, written_out, monkeypatch):
    """Written out as one function of a lane, and layer by layer over a block."""
    monkeypatch.setattr(build.fuse, "LARGEST", 256 if written_out else 0)
    c, recs = make(name), records(3, 8, 20)
    assert build.fuse.small(c.phases) is written_out
    expected, _ = play_numpy(c, recs)
    got, _ = play_compiled(c, recs)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)
    host = Runner(c, 8, "torch")
    for r, want in zip(recs, expected, strict=True):
        answer = host.decide([torch.tensor(row) for row in r])
        np.testing.assert_allclose(np.array([np.asarray(a) for a in answer]), want, rtol=0, atol=1e-12)
    assert np.std(expected[:, 1]) > 0.05


@pytest.mark.parametrize("name", NEW)
def test_the_file_holds_the_activation(name, tmp_path):
    c = make(name)
    back = load(save(c, tmp_path / "c.safetensors"))
    assert back.shapes == c.shapes and back.key == c.key and c.shapes[0][2] == name
    layer = document(c)["layers"][0]
    assert layer["activation"] == name.partition("(")[0]
    assert layer.get("slope") == (None if "leaky" not in name else float(name[11:-1]))


def test_a_name_has_one_way_of_writing():
    assert activations.named("leaky_relu") == activations.named("leaky_relu(1e-2)") == "leaky_relu(0.01)"
    assert make("leaky_relu").key == make("leaky_relu(0.010)").key != make("leaky_relu(0.02)").key
    assert activations.leaky(1) == "leaky_relu(1.0)" and activations.kind("leaky_relu(0.5)") == "leaky_relu"
    for bad in ("leaky_relu(x)", "leaky_relu(inf)", "leaky_relu(nan)", "leaky_relu()", "swish", "gelu(1)", None, 3, []):
        with pytest.raises(ValueError, match="activation must be|slope"):
            activations.named(bad)
        with pytest.raises(ValueError, match="layer 0|activation must be|slope"):
            make(bad)
    with pytest.raises(ValueError, match="activation must be one of"):
        dense.check(Dense(0, 1, 1, 1, 0, "swish"))
