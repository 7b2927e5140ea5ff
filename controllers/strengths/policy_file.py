"""The file of a trained strength: the container of a controller file, with a document of its own.

`docs/controller_file.md` has the specification.  The tensors are `layers.<i>.weight` and `layers.<i>.bias`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...integrators.core import dense, options
from ...integrators.core.names import unknown
from ...integrators.core.reading import line
from .. import in_place, zoo
from ..file.checks import keys, mapping, number, text
from ..file.container import pack, unpack
from ..file.layout import MAX_FILE, SCHEMA, STRENGTH, SUFFIX, digest, layer_of, plain
from ..file.reading import check_arrays, layers_of
from ..hub import bytes_of, is_hub
from .observation import BOUND, MOST, OBSERVED, OFF, action_of

WHAT = "file of a trained strength"
Layers = list[tuple[np.ndarray, np.ndarray, str]]


@dataclass(frozen=True, eq=False)
class StrengthNetwork:
    """What a trained strength computes: an action in [-1, 1] from what it observes, `observation.OBSERVED`.

    name        one printable line.
    features    names of what it observes, in order.
    layers      (weight (n_out, n_in), bias (n_out,), activation) of each layer; the last has one output and is linear.
    provenance  what made it: algorithm, seed, commit, the iterations between two decisions, and so on.
    measured    figures that were measured.

    ValueError for features that do not exist and layers that do not fit.
    """

    name: str
    features: tuple[str, ...]
    layers: Layers
    provenance: Mapping[str, Any] = field(default_factory=dict)
    measured: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.features:
            if name not in OBSERVED:
                raise unknown("feature of a strength", name, OBSERVED)
        if not self.features or len(set(self.features)) < len(self.features):
            raise ValueError(f"the features of a strength must be different ones, at least one, got {self.features!r}")
        width = len(self.features)
        for i, (weight, bias, _) in enumerate(self.layers):
            if weight.shape != (len(bias), width) or not (np.isfinite(weight).all() and np.isfinite(bias).all()):
                raise ValueError(f"layer {i} of a strength must be finite and have {width} inputs, got {weight.shape}")
            width = len(bias)
        if not self.layers or width != 1 or self.layers[-1][2] != "linear":
            raise ValueError("the last layer of a strength must be linear and have one output")

    def __call__(self, observed: np.ndarray) -> np.ndarray:
        """(..., 1) actions in [-1, 1], of observations (..., len(features)); NaN where the network's answer is."""
        z = np.asarray(observed, np.float64)
        for weight, bias, activation in self.layers:
            z = dense.activate(z @ weight.T + bias, activation)
        return np.clip(z, -1.0, 1.0)

    @property
    def weights(self) -> np.ndarray:
        """(n_weights,) all weights: layer by layer, W row-major and then b."""
        return np.concatenate([part.ravel() for weight, bias, _ in self.layers for part in (weight, bias)])

    @property
    def n_weights(self) -> int:
        """How many weights there are."""
        return sum(weight.size + bias.size for weight, bias, _ in self.layers)

    def with_weights(self, weights: np.ndarray) -> StrengthNetwork:
        """The same network with other weights (n_weights,); ValueError for another number of them."""
        given = np.array(weights, np.float64)
        if given.shape != (self.n_weights,):
            raise ValueError(f"weights must have shape ({self.n_weights},), got {given.shape}")
        layers: Layers = []
        at = 0
        for weight, bias, activation in self.layers:
            end = at + weight.size
            layers.append((given[at:end].reshape(weight.shape), given[end : end + bias.size], activation))
            at = end + bias.size
        return replace(self, layers=layers)

    @classmethod
    def random(
        cls,
        hidden: Sequence[int],
        rng: np.random.Generator,
        scale: float,
        activation: str = "tanh",
        ratio: float = 0.1,
        name: str = "",
    ) -> StrengthNetwork:
        """A network with normally distributed weights of this scale that answers about `ratio`, a ratio of gradients.

        hidden: widths of its hidden layers, which have the `activation`.  ValueError for widths that are none, and an
        activation or a ratio that does not exist.
        """
        hidden = [options.count("hidden", width) for width in hidden]
        dense.activate(np.zeros(1), activation)
        widths = [len(OBSERVED), *hidden, 1]
        acts = [*(activation for _ in hidden), "linear"]
        layers = [
            (scale * rng.standard_normal((b, a)), np.zeros(b), act)
            for a, b, act in zip(widths[:-1], widths[1:], acts, strict=True)
        ]
        layers[-1][1][:] = action_of(ratio)
        return cls(name, tuple(OBSERVED), layers)

    @property
    def digest(self) -> str:
        """What tells its weights and features from others': a hex SHA-256."""
        doc = document(self)
        return digest(json.dumps([doc[k] for k in ("observation", "action", "layers")]), _tensors(self))


def document(network: StrengthNetwork) -> dict[str, Any]:
    """The JSON document of its file: what it is, without its weights.  ValueError where provenance or figures are not
    JSON."""
    return plain({
        "format": STRENGTH, "schema": SCHEMA, "name": network.name,
        "observation": {"features": list(network.features), "bound": BOUND},
        "action": {"off": OFF, "most": MOST, "squash": "clip"},
        "layers": [layer_of(w.shape[1], w.shape[0], activation) for w, _, activation in network.layers],
        "provenance": dict(network.provenance), "measured": dict(network.measured),
    })  # fmt: skip


def describe(network: StrengthNetwork) -> str:
    """What it is, in plain text: what `stepsmith inspect` prints."""
    widths = "-".join(map(str, (len(network.features), *(len(bias) for _, bias, _ in network.layers))))
    acts = ", ".join(activation for _, _, activation in network.layers)
    lines = [
        f"{line(network.name)}: trained strength of a regulariser",
        f"network      {widths} ({acts}; clip)",
        f"action       log10 of the ratio of gradients, {OFF:g} (none) to {MOST:g}",
        f"observation  {len(network.features)} features",
    ]
    lines += [f"             {name}" for name in network.features]
    for title, part in (("provenance", network.provenance), ("measured", network.measured)):
        lines += [f"{title:<12} {line(k)}: {line(v if isinstance(v, str) else json.dumps(v))}" for k, v in part.items()]
    return "\n".join(lines)


def to_bytes(network: StrengthNetwork) -> bytes:
    """The bytes of its file.  ValueError where provenance or figures are not JSON, or texts are too long."""
    data = pack(document(network), _tensors(network))
    parse(data)  # what cannot be read back is not written
    return data


def _tensors(network: StrengthNetwork) -> dict[str, np.ndarray]:
    arrays = {}
    for i, (weight, bias, _) in enumerate(network.layers):
        arrays[f"layers.{i}.weight"] = np.ascontiguousarray(weight, np.float64)
        arrays[f"layers.{i}.bias"] = np.ascontiguousarray(bias, np.float64)
    return arrays


def save(network: StrengthNetwork, path: str | os.PathLike[str]) -> Path:
    """Write a trained strength; returns the path.  The file is put in place whole or not at all.

    ValueError for a name that does not end in .safetensors, and for what `read` would refuse.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise ValueError(f"a {WHAT} must end in {SUFFIX}, got {path.name!r}")
    in_place.write(path, to_bytes(network))
    return path


def read(name_or_path: str | os.PathLike[str]) -> StrengthNetwork:
    """A trained strength of the zoo by name, or from a file; what ends in .safetensors or has a folder in it is a path,
    and a name on the Hub begins with hf: (`controllers.hub`).

    ValueError for an unknown name and for a file that is damaged or something else; FileNotFoundError where there is
    none.
    """
    name = os.fspath(name_or_path)
    if is_hub(name) or name.endswith(SUFFIX) or os.path.dirname(name):
        data = bytes_of(name_or_path, WHAT, MAX_FILE)
    elif name in zoo.strengths():
        data = zoo.read(name + zoo.STRENGTH)
    else:
        raise unknown("trained strength", name, zoo.strengths())
    try:
        return parse(data)
    except ValueError as e:
        raise ValueError(f"{name}: {e}") from None


def parse(data: bytes) -> StrengthNetwork:
    """The trained strength in the bytes of a file; ValueError naming what is wrong with them."""
    doc, arrays = unpack(data, STRENGTH, WHAT)
    keys(doc, {"format", "schema", "name", "observation", "action", "layers", "provenance", "measured"}, "document")
    obs, act = (mapping(doc[k], k) for k in ("observation", "action"))
    keys(obs, {"features", "bound"}, "observation")
    keys(act, {"off", "most", "squash"}, "action")
    for where, given, here in (
        ("observation.bound", obs["bound"], BOUND), ("action.off", act["off"], OFF), ("action.most", act["most"], MOST),
    ):  # fmt: skip
        if number(given, where, -1e6, 1e6) != here:
            raise ValueError(f"{where} is {given!r}; this version works with {here!r}")
    if act["squash"] != "clip":
        raise ValueError(f"action.squash must be 'clip', got {act['squash']!r}")
    features = obs["features"]
    if not isinstance(features, list) or not all(isinstance(f, str) for f in features):
        raise ValueError("observation.features must be a list of names")
    shapes = layers_of(doc["layers"])
    expected: dict[str, tuple[int, ...]] = {}
    for i, (a, b, _) in enumerate(shapes):
        expected[f"layers.{i}.weight"], expected[f"layers.{i}.bias"] = (b, a), (b,)
    check_arrays(arrays, expected)
    layers = [(arrays[f"layers.{i}.weight"], arrays[f"layers.{i}.bias"], s[2]) for i, s in enumerate(shapes)]
    provenance, measured = mapping(doc["provenance"], "provenance"), mapping(doc["measured"], "measured")
    return StrengthNetwork(text(doc["name"], "name"), tuple(features), layers, provenance, measured)
