"""The file of a learned sampler: the container of a controller file, with a document of its own.

Tensors, all float64: `times` (N+1,), `start` (N,), `state` (N,), `slopes` (N, N), and of a schedule with a network
`layers.<i>.weight` and `layers.<i>.bias`.  The document names format, schema, kind, process, span, network, layers,
trained_on, provenance and measured; `docs/learned_samplers.md` says what they are.  Reading executes nothing, and
refuses what it does not understand.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ..controllers import in_place
from ..controllers.file.checks import keys, mapping, number, text
from ..controllers.file.container import pack, unpack
from ..controllers.file.layout import MAX_FILE, MAX_LAYERS, SAMPLER, SCHEMA, SUFFIX, plain
from ..controllers.file.reading import check_arrays
from ..integrators.core.errors import shown
from ..integrators.core.reading import read_bytes
from .network import ACTIVATIONS, Network
from .processes import from_dict
from .schedule import LARGEST, MOST, Schedule

WHAT = "file of a learned sampler"
ARRAYS = ("times", "start", "state", "slopes")
#: most inputs or outputs of a layer
WIDEST = 2**16


def document(schedule: Schedule) -> dict[str, Any]:
    """The JSON document of a schedule: what it is, without its numbers.  ValueError for facts that are not JSON."""
    net = schedule.network
    return plain({
        "format": SAMPLER, "schema": SCHEMA, "kind": schedule.kind, "evaluations": schedule.evaluations,
        "process": dict(schedule.process), "span": list(schedule.span),
        "network": None if net is None else {"role": net.role, "order": net.order, "shared": net.shared},
        "layers": [] if net is None else [
            {"n_in": w.shape[1], "n_out": w.shape[0], "activation": a} for w, _, a in net.layers
        ],
        "trained_on": dict(schedule.trained_on), "provenance": dict(schedule.provenance),
        "measured": dict(schedule.measured),
    })  # fmt: skip


def to_bytes(schedule: Schedule) -> bytes:
    """The bytes of its file.  ValueError for what `parse` would refuse."""
    arrays = {name: np.array(getattr(schedule, name)) for name in ARRAYS}
    for i, (weight, bias, _) in enumerate(schedule.network.layers if schedule.network else ()):
        arrays[f"layers.{i}.weight"] = np.ascontiguousarray(weight, np.float64)
        arrays[f"layers.{i}.bias"] = np.ascontiguousarray(bias, np.float64)
    data = pack(document(schedule), arrays)
    if len(data) > MAX_FILE:
        raise ValueError(f"a {WHAT} must have at most {MAX_FILE} bytes, this one has {len(data)}")
    parse(data)  # what cannot be read back is not written
    return data


def save(schedule: Schedule, path: str | os.PathLike[str]) -> Path:
    """Write a schedule; returns the path.  The file is put in place whole or not at all.

    ValueError for a name that does not end in .safetensors, and for what `load` would refuse.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise ValueError(f"a {WHAT} must end in {SUFFIX}, got {path.name!r}")
    in_place.write(path, to_bytes(schedule))
    return path


def load(path: str | os.PathLike[str]) -> Schedule:
    """The schedule in a file.  ValueError naming what is wrong with it; FileNotFoundError where there is none."""
    data = read_bytes(path, WHAT, MAX_FILE)
    try:
        return parse(data)
    except ValueError as e:
        raise ValueError(f"{path}: {e}") from None


def parse(data: bytes) -> Schedule:
    """The schedule in the bytes of a file; ValueError naming what is wrong with them."""
    doc, arrays = unpack(data, SAMPLER, WHAT)
    wanted = ("format", "schema", "kind", "evaluations", "process", "span", "network", "layers")
    keys(doc, {*wanted, "trained_on", "provenance", "measured"}, "document")
    n = _whole(doc["evaluations"], "evaluations", 1, MOST)
    expected: dict[str, tuple[int, ...]] = {"times": (n + 1,), "start": (n,), "state": (n,), "slopes": (n, n)}
    shapes = _layers(doc["layers"])
    for i, (a, b, _) in enumerate(shapes):
        expected[f"layers.{i}.weight"], expected[f"layers.{i}.bias"] = (b, a), (b,)
    check_arrays(arrays, expected)
    span = doc["span"]
    if not isinstance(span, list) or len(span) != 2:
        raise ValueError(f"span must be a list of two times, got {shown(span)}")
    layers = tuple((arrays[f"layers.{i}.weight"], arrays[f"layers.{i}.bias"], s[2]) for i, s in enumerate(shapes))
    first, last = (number(x, f"span[{i}]", -LARGEST, LARGEST) for i, x in enumerate(span))
    return Schedule(
        text(doc["kind"], "kind"), arrays["times"], arrays["start"], arrays["state"], arrays["slopes"],
        _process(doc["process"]), (first, last), _network(doc["network"], layers),
        mapping(doc["trained_on"], "trained_on"), mapping(doc["provenance"], "provenance"),
        mapping(doc["measured"], "measured"),
    )  # fmt: skip


def _process(found: Any) -> dict[str, Any]:
    found = mapping(found, "process")
    text(found.get("name"), "process.name")
    for key, value in found.items():
        if key != "name" and not isinstance(value, str | bool):
            number(value, f"process.{shown(key)}", -LARGEST, LARGEST)
    from_dict(found)
    return found


def _layers(found: Any) -> list[tuple[int, int, str]]:
    if not isinstance(found, list) or len(found) > MAX_LAYERS:
        raise ValueError(f"layers must be a list of at most {MAX_LAYERS} layers")
    out = []
    for i, layer in enumerate(found):
        where = f"layers[{i}]"
        keys(mapping(layer, where), {"n_in", "n_out", "activation"}, where)
        sizes = [_whole(layer[key], f"{where}.{key}", 1, WIDEST) for key in ("n_in", "n_out")]
        if not isinstance(layer["activation"], str) or layer["activation"] not in ACTIVATIONS:
            raise ValueError(f"{where}.activation must be one of {', '.join(ACTIVATIONS)}, got "
                             f"{shown(layer['activation'])}")  # fmt: skip
        out.append((sizes[0], sizes[1], layer["activation"]))
    return out


def _network(found: Any, layers: tuple[Any, ...]) -> Network | None:
    if found is None:
        if layers:
            raise ValueError("layers without a network")
        return None
    keys(mapping(found, "network"), {"role", "order", "shared"}, "network")
    role = text(found["role"], "network.role")
    if not isinstance(found["shared"], bool):
        raise ValueError(f"network.shared must be true or false, got {shown(found['shared'])}")
    return Network(role, layers, _whole(found["order"], "network.order", 0, 10), found["shared"])


def _whole(value: Any, what: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{what} must be a whole number in [{low}, {high}], got {shown(value)}")
    return value
