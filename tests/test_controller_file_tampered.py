"""Controller files that were cut, damaged or tampered with are refused with a ValueError that names the fault."""

import copy
import json
import pickle
import struct

import numpy as np
import pytest
from safetensors.numpy import save as st_save

from controller_files import DEEP, MAKERS, chooser, forge, network, parts, same
from stepsmith.controllers import file


@pytest.fixture
def saved(tmp_path):
    """Path of a file that holds the network."""
    return file.save(network(), tmp_path / "c.safetensors")


def test_a_forged_file_with_nothing_changed_is_read(saved, tmp_path):
    """The tampering below is refused for what it changes, not for how it is written."""
    doc, arrays = parts(saved)
    assert same(file.load(forge(tmp_path / "f.safetensors", doc, arrays)), network())


def test_every_truncation_is_refused(saved, tmp_path):
    data = saved.read_bytes()
    bad = tmp_path / "bad.safetensors"
    for n in [*range(0, 64), *range(64, len(data), 41), len(data) - 1]:
        bad.write_bytes(data[:n])
        with pytest.raises(ValueError, match="bad.safetensors: "):
            file.load(bad)
    for extra in (b"\0", data):
        bad.write_bytes(data + extra)
        with pytest.raises(ValueError):
            file.load(bad)


@pytest.mark.parametrize("make", MAKERS)
def test_fuzz(make, tmp_path):
    """Random damage gives ValueError or, where it hit nothing but spelling, the same controller."""
    c = make()
    data = file.save(c, tmp_path / "c.safetensors").read_bytes()
    bad = tmp_path / "bad.safetensors"
    rng = np.random.default_rng(1)
    refused = 0
    for i in range(1200):
        b = bytearray(data)
        for _ in range(int(rng.integers(1, 4))):
            at = int(rng.integers(0, len(b)))
            kind = rng.integers(0, 4)
            if kind == 0:
                b[at] ^= 1 << int(rng.integers(0, 8))
            elif kind == 1:
                b[at] = int(rng.integers(0, 256))
            elif kind == 2:
                del b[at : at + int(rng.integers(1, 9))]
            else:
                b[at:at] = rng.bytes(int(rng.integers(1, 9)))
        if i % 10 == 0:  # the length of the header
            b[int(rng.integers(0, 8))] = int(rng.integers(0, 256))
        bad.write_bytes(bytes(b))
        try:
            back = file.load(bad)
        except ValueError:
            refused += 1
        else:
            assert same(back, c)
    assert refused > 1100


def test_fuzz_with_a_digest_that_fits(saved, tmp_path):
    """Damage inside the document, digest made anew: a ValueError or a controller, and never anything else."""
    doc, arrays = parts(saved)
    text = json.dumps(doc)
    rng = np.random.default_rng(2)
    refused = 0
    for _ in range(600):
        at, n = int(rng.integers(0, len(text))), int(rng.integers(0, 4))
        new = rng.choice(["", "9", "-", "e9", '"', "null", "[", "{}", "true", "\\u0000", "x", '"inf"', ","])
        try:
            c = file.load(forge(tmp_path / "bad.safetensors", None, arrays, text[:at] + new + text[at + n :]))
        except ValueError:
            refused += 1
        else:
            assert np.all(np.isfinite(c.action_numpy(np.zeros(8))))
    assert 300 < refused < 600


HEAD_OF_2 = struct.pack("<Q", 2)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", pickle.dumps({"a": 1}), b"\xff" * 64, HEAD_OF_2 + b"{}", HEAD_OF_2 + b"[]"]
)
def test_other_files_are_refused(content, tmp_path):
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(content)
    with pytest.raises(ValueError, match="bad.safetensors: "):
        file.load(bad)


def test_weights_of_something_else_are_refused(tmp_path):
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(st_save({"a": np.zeros(3)}, {"format": "pt"}))
    with pytest.raises(ValueError, match="not a controller file"):
        file.load(bad)


def put(doc, path, value):
    *way, last = path
    for key in way:
        doc = doc[key]
    if value is KeyError:
        del doc[last]
    else:
        doc[last] = value


TAMPERED = [
    (["schema"], 2, "schema 2 is unknown"),
    (["schema"], True, "schema True is unknown"),
    (["schema"], KeyError, "schema None is unknown"),
    (["format"], "other", "format is not"),
    (["extra"], 1, "document: 'extra' not understood"),
    (["layers"], KeyError, "document: layers missing"),
    (["name"], 3, "name must be text"),
    (["name"], "x" * 5000, "name must be text of at most"),
    (["provenance"], [1], "provenance must be a mapping"),
    (["provenance", "deep"], DEEP, "nested more than"),
    (["observation"], None, "observation must be a mapping"),
    (["observation", "bound"], 0, "obs_clip must be positive"),
    (["observation", "bound"], "10", "observation.bound must be a number"),
    (["observation", "features"], {}, "must be a list of at most"),
    (["observation", "features"], [], "tensor|normaliser|at least one"),
    (
        ["observation", "features", 0, "name"],
        "log_eror",
        r"unknown observation.features\[0\] 'log_eror': did you mean 'log_err'",
    ),
    (["observation", "features", 0, "name"], "log_err_1", "repeated|differ"),
    (["observation", "features", 0, "name"], ["log_err"], r"must be one of log_err, .* got \['log_err'\]"),
    (["observation", "features", 1, "clip"], [-10.0, 11.0], "differ from this version's"),
    (["observation", "features", 1, "code"], "import os", "'code' not understood"),
    (["action", "n"], 1, "last layer must have 1 outputs"),
    (["action", "n"], 3, "action.n must be one of 1, 2, 4"),
    (["action", "n"], [2], "action.n must be one of 1, 2, 4"),
    (["action", "n"], {}, "action.n must be one of 1, 2, 4"),
    (["action", "n"], True, "action.n must be one of 1, 2, 4"),
    (["action", "squash"], "eval", "action.squash must be one of"),
    (["action", "squash"], ["clip"], "action.squash must be one of"),
    (["action", "squash"], "argmax", "table missing"),
    (["action", "residual_scale"], -1.0, "action.residual_scale must be a number in"),
    (["action", "residual_scale"], 1e6, "action.residual_scale must be a number in"),
    (["action", "residual_scale"], True, "action.residual_scale must be a number in"),
    (["action", "shrink"], 0.99, "action.shrink is 0.99"),
    (["law", "kind"], "lambda", "unknown kind of law"),
    (["law", "kind"], "constant", "law.coefficients"),
    (["law", "coefficients", "b9"], 1.0, "'b9' not understood"),
    (["law", "coefficients", "b1"], KeyError, "law.coefficients: b1 missing"),
    (["law", "coefficients", "b1"], "inf", r"b1 must be in \[-10, 10\]"),
    (["law", "coefficients", "b1"], 10**400, "the number .* is too large"),
    (["law", "coefficients", "fmin"], -0.1, "fmin must be in"),
    (["law", "coefficients", "nonfinite"], 1.0, "nonfinite must be in"),
    (["layers"], [], "list of 1 to 16"),
    (["layers", 0, "activation"], "swish", r"layers\[0\].activation must be one of"),
    (["layers", 2, "activation"], "tanh", "last layer must be linear"),
    (["layers", 0, "slope"], 0.1, "layers.0.: .slope. not understood"),
    (["observation", "frames"], 0, r"observation.frames must be an integer in \[1, 64\]"),
    (["observation", "frames"], True, "observation.frames must be"),
    (["observation", "frames"], 2, "weight must have shape"),
    (["layers", 0, "activation"], "leaky_relu", "layers.0.: slope missing"),
    (["layers", 0, "n_out"], 7, "tensor 'layers.0.bias' must have shape|tensor 'layers.0.weight' must have shape"),
    (["layers", 0, "n_in"], -8, r"layers\[0\].n_in must be an integer in"),
    (["layers", 0, "n_in"], 8.0, r"layers\[0\].n_in must be an integer in"),
    (["layers", 0, "n_in"], 10**9, r"layers\[0\].n_in must be an integer in"),
]


@pytest.mark.parametrize(("path", "value", "message"), TAMPERED)
def test_tampered_documents_are_refused_for_what_is_wrong(path, value, message, saved, tmp_path):
    doc, arrays = parts(saved)
    doc = copy.deepcopy(doc)
    put(doc, path, value)
    with pytest.raises(ValueError, match=message):
        file.load(forge(tmp_path / "bad.safetensors", doc, arrays))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("layers.0.weight", np.zeros((8, 6)), r"'layers.0.weight' must have shape \(6, 8\), got \(8, 6\)"),
        ("layers.0.weight", np.zeros((6, 8), np.float32), "must be float64"),
        ("layers.0.weight", np.zeros((6, 8), np.int64), "must be float64"),
        ("layers.0.bias", np.full(6, np.nan), "'layers.0.bias' holds values that are not finite"),
        ("normaliser.shift", np.full(8, np.inf), "'normaliser.shift' holds values that are not finite"),
        ("normaliser.scale", np.zeros(8), "scale of the normaliser must be positive"),
        ("layers.3.weight", np.zeros((2, 2)), "tensors: 'layers.3.weight' not understood"),
        ("layers.2.bias", None, "tensors: layers.2.bias missing"),
        ("table", np.zeros((2, 2)), "tensors: 'table' not understood"),
    ],
)
def test_tampered_tensors_are_refused(name, value, message, saved, tmp_path):
    doc, arrays = parts(saved)
    if value is None:
        del arrays[name]
    else:
        arrays[name] = value
    with pytest.raises(ValueError, match=message):
        file.load(forge(tmp_path / "bad.safetensors", doc, arrays))


def test_a_table_out_of_bounds_is_refused(tmp_path):
    doc, arrays = parts(file.save(chooser(), tmp_path / "c.safetensors"))
    arrays["table"] = arrays["table"] * 2.0
    with pytest.raises(ValueError, match=r"table of actions must lie in \[-1, 1\]"):
        file.load(forge(tmp_path / "bad.safetensors", doc, arrays))


def test_a_changed_weight_without_a_new_digest_is_refused(saved, tmp_path):
    data = bytearray(saved.read_bytes())
    data[-3] ^= 1
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(bytes(data))
    with pytest.raises(ValueError, match="digest does not fit"):
        file.load(bad)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ('{"schema": NaN}', "NaN is not JSON"),
        ('{"schema": 1, "schema": 1}', "a key is repeated"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "not a controller file"),
        ('"' + "x" * 300_000 + '"', "longer than the limit"),
    ],
)
def test_bad_documents(text, message, saved, tmp_path):
    _, arrays = parts(saved)
    with pytest.raises(ValueError, match=message):
        file.load(forge(tmp_path / "bad.safetensors", None, arrays, text))
