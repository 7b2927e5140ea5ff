"""Controllers to write into files; files taken apart, and put together again with a digest that fits."""

import json
import struct

import numpy as np
from safetensors.numpy import load as st_load
from safetensors.numpy import save as st_save

from stepsmith.controllers import file
from stepsmith.controllers.file.layout import digest
from stepsmith.controllers.laws import registry
from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.network import Learned
from stepsmith.controllers.learned.observation import TIER0


def network():
    rng = np.random.default_rng(0)
    d = Decision(TIER0, "pi34", 1.25, 0.9, 2, rng.normal(size=8), rng.uniform(0.5, 2.0, 8), 10.0)
    return Learned.random(
        d, (6, 5), rng, name="bumpy", family="three_body", squash="clip",
        provenance={"seed": 3, "versions": {"numpy": np.__version__}, "steps": np.int64(10)},
        measured={"ratio": 0.64, "interval": (0.6, 0.7)},
    )  # fmt: skip


def chooser():
    d = Decision(("log_h_tau",), registry.amuse(0.02), n_act=1, residual_scale=3.0)
    return Learned(d, [(np.arange(5.0)[:, None], np.ones(5), "linear")], "argmax", np.linspace(-1, 1, 5))


def exotic():
    return Learned.random(Decision(law=registry.get("predictive", fmax=float("inf"))), (4,), 1, activation="relu")


MAKERS = (network, chooser, exotic)


def same(a, b):
    return (
        a.key == b.key and a.n_state == b.n_state and file.document(a) == file.document(b)
        and np.array_equal(a.params, b.params) and a.params.tobytes() == b.params.tobytes()
    )  # fmt: skip


def parts(path):
    """(document, tensors) of a file."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    meta = json.loads(data[8 : 8 + size])["__metadata__"]
    return json.loads(meta["stepsmith"]), st_load(data)


def forge(path, doc, arrays, text=None):
    """Write a file with a digest that fits: what a tamperer who knows the format would do."""
    text = json.dumps(doc) if text is None else text
    path.write_bytes(st_save(arrays, {"stepsmith": text, "sha256": digest(text, arrays)}))
    return path


DEEP = json.loads("[" * 40 + "]" * 40)
