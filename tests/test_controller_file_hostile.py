"""Controller files and law files from elsewhere: read within bounds, refused in one line, or decide within the limits
of the schema.
"""

import copy
import json
import os
import pickle
import struct
import threading
import warnings

import numpy as np
import pytest
from safetensors.numpy import load as st_load
from safetensors.numpy import save as st_save

import stepsmith as ss
from stepsmith.controllers import file, zoo
from stepsmith.controllers.file.layout import digest
from stepsmith.controllers.laws import registry, tuned
from stepsmith.controllers.learned import decision
from stepsmith.controllers.learned import network as learned
from stepsmith.integrators.core import reading
from stepsmith.integrators.core import record as R
from stepsmith.integrators.core.contract import ACCEPT, ACCEPT_MAX, LOG_FACTOR, N_HEAD

LONG = 200  # characters that a message may have beside the file's name


def parts(name="three-body"):
    data = zoo.read(name)
    size = struct.unpack("<Q", data[:8])[0]
    return json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["stepsmith"]), st_load(data)


def forge(path, doc, arrays):
    """A file with a digest that fits: what somebody writes who knows the format."""
    text = doc if isinstance(doc, str) else json.dumps(doc)
    path.write_bytes(st_save(arrays, {"stepsmith": text, "sha256": digest(text, arrays)}))
    return path


def refused(path, match, read=file.load):
    with pytest.raises(ValueError, match=match) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message and message.isprintable()
    assert len(message) - len(str(path)) < 3 * LONG
    return message


def put(doc, way, value):
    *path, last = way
    for key in path:
        doc = doc[key]
    doc[last] = value


WORDS = [
    (["measured", "ratio"], "1e999", "too large"), (["measured", "ratio"], "-1e400", "too large"),
    (["measured", "n"], "1" + "0" * 500, "too large"), (["measured", "n"], "1" + "0" * 6000, "too large"),
    (["measured", "n"], "NaN", "NaN is not JSON"),
    (["name"], '"\\ud800"', "cannot be printed"), (["provenance", "x"], '"a\\udfff"', "cannot be printed"),
    (["name"], '"\\u001b[2Jgone"', "cannot be printed"), (["provenance", "x"], '"\\u009b31m"', "cannot be printed"),
    (["name"], '"two\\nlines"', "name must be text of at most 2000 printable"),
    (["family"], '"\\u202eevil"', "cannot be printed"),
    (["measured", "\u001b]0;x"], "1", "cannot be printed"),
    (["law", "name"], '"' + "n" * 4000 + '"', "law.name must be text"),
    (["action", "squash"], '"' + "s" * 4000 + '"', "squash must be one of"),
    (["schema"], '"' + "s" * 4000 + '"', "schema .* is unknown"),
    (["law", "kind"], '"' + "s" * 4000 + '"', "unknown kind of law"), (["k" * 4000], "1", "not understood"),
    (["observation", "features", 0, "name"], '"' + "f" * 4000 + '"', "unknown observation"),
    (["action", "threshold_scale"], "10.0", "threshold_scale must be a number in"),
    (["action", "accept_max"], "1e5", "accept_max is"),
    (["action", "accept_max"], "1e300", "accept_max must be"),
    (["layers", 0, "n_in"], '"' + "9" * 4000 + '"', "n_in must be an integer"),
    (["provenance", "deep"], "[" * 100_000 + "]" * 100_000, "nested more than 12 deep"),
    (["provenance", "deep"], "[" * 100_000, "nested more"),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(WORDS)))
def test_values_that_break_what_comes_after(case, tmp_path):
    way, value, match = WORDS[case]
    doc, arrays = parts()
    put(doc, way, "@@")
    refused(forge(tmp_path / "bad.safetensors", json.dumps(doc).replace('"@@"', value), arrays), match)


def test_a_file_older_than_the_stated_bound_is_read(tmp_path):
    doc, arrays = parts()
    assert doc["action"].pop("accept_max") == ACCEPT_MAX
    assert (
        file.load(forge(tmp_path / "old.safetensors", doc, arrays)).params.tobytes()
        == ss.load_controller("three-body").params.tobytes()
    )


def test_text_with_tabs_and_letters_of_any_kind_is_read_and_printed_on_one_line(tmp_path):
    doc, arrays = parts()
    doc["name"], doc["provenance"] = "Größe-体", {"note": "a\tb\nc", "long": "x" * 5000}
    text = file.describe(file.load(forge(tmp_path / "c.safetensors", doc, arrays)))
    assert "Größe-体" in text and "note: a b c" in text and max(map(len, text.splitlines())) < 500


def test_what_a_person_built_is_printed_safely():
    text = file.describe(ss.load_controller("three-body").replace(name="\x1b[31mred", provenance={"\x07k": "\x1b[0m"}))
    assert text.replace("\n", "").isprintable()


READERS = {"controller": (file.load, ".safetensors"), "law": (tuned.read, ".json"), "by name": (ss.controller, ".json")}


def timed(call):
    """What `call` raised, within seconds."""
    found = []

    def work():
        try:
            call()
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(20.0)
    assert not thread.is_alive(), "the reader hangs"
    return found[0]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "endless link", "null"])
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX files")
def test_what_is_no_regular_file(kind, reader, tmp_path):
    read, suffix = READERS[reader]
    path = tmp_path / f"x{suffix}"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"device": "/dev/urandom", "endless link": "/dev/zero", "null": "/dev/null"}[kind])
    error = timed(lambda: read(str(path)))
    assert isinstance(error, ValueError) and "regular file" in str(error) and str(path) in str(error)


def test_sizes(tmp_path):
    path = tmp_path / "big.json"
    with open(path, "wb") as f:
        f.truncate(reading.MAX_JSON + 1)
    refused(path, "more than the limit of 1048576 bytes", tuned.read)
    path = tmp_path / "big.safetensors"
    with open(path, "wb") as f:
        f.truncate(file.MAX_FILE + 1)
    refused(path, "more than the limit of")


LAW = {"schema": 1, "law": {"rules": "plain", "values": {"safety": 0.9, "b1": 1.0, "accept_err": 1.0}}}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[" * 100_000, "nested more than 12 deep"), ('{"a":' * 100_000, "nested more"), ("", "not valid JSON"),
        ("\xff", "not valid JSON"),
        (json.dumps(LAW).replace("0.9", "1e999"), "too large"),
        (json.dumps(LAW).replace("plain", "\\ud800"), "cannot be printed"),
        (json.dumps(LAW).replace('"accept_err": 1.0', '"accept_err": "inf"'), "accept_err must be at most 50"),
        (json.dumps(LAW).replace('"accept_err": 1.0', '"accept_err": 2e4'), "accept_err must be at most 50"),
        (
            json.dumps(LAW).replace('"accept_err": 1.0', '"accept_err": 50.1, "accept_factor": 0.8'),
            "accept_err must be at most 50",
        ),
        (json.dumps(LAW).replace('"b1"', '"' + "b" * 4000 + '": 1, "b1"'), "unknown coefficient"),
        (json.dumps({"schema": "9" * 4000}), "schema"), ('{"schema": 1, "schema": 1}', "a key is repeated"),
        ("3", "schema None"),
    ],
)  # fmt: skip
def test_law_files(text, match, tmp_path):
    path = tmp_path / "law.json"
    path.write_bytes(text.encode("latin-1"))
    refused(path, match, tuned.read)


def test_what_is_written_can_be_read(tmp_path):
    """A law of one's own may accept anything; its file may not."""
    path = tmp_path / "law.json"
    tuned.write(path, registry.get("h0211", accept_err=np.inf), {"method": "dopri5"})
    assert tuned.read(path)[0]["accept_err"] == 50.0
    assert json.loads(path.read_text())["law"]["values"]["accept_err"] == 50.0


def test_a_constant_step_does_not_go_into_a_file(tmp_path):
    d = decision.Decision(("streak",), registry.constant(0.1), n_act=1)
    net = learned.Learned.random(d, (4,), np.random.default_rng(0), 0.1, "tanh", "clip")
    with pytest.raises(ValueError, match="accepts every error"):
        file.save(net, tmp_path / "c.safetensors")


def test_a_tuned_law_warns_on_another_method_than_its_own():
    path = str(tuned.SHIPPED / "kepler-dopri5.json")
    problem = ss.problems.make("kepler", seed=0)
    with pytest.warns(UserWarning, match="trained with method 'dopri5' and is used with 'bs32'"):
        ss.solve(problem, "bs32", path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ss.solve(problem, "dopri5", path)
        ss.solve(problem, "dopri5", registry.get("pi34"))
    law = tuned.read(path)[0]
    assert law.trained_method == pickle.loads(pickle.dumps(law)).trained_method == "dopri5"


def test_every_shipped_law_is_read():
    for path in tuned.SHIPPED.glob("*.json"):
        assert tuned.read(path)[0].name == "tuned" and reading.read_json(path, "law")["schema"] == 1


def test_read_json(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"a": [1, 2.5, "text", null, true], "b": "[[[[[[[[[[[[[[[ \\" {{{"}')
    assert reading.read_json(path, "config")["a"] == [1, 2.5, "text", None, True]
    with pytest.raises(FileNotFoundError):
        reading.read_json(tmp_path / "none.json", "config")
    with pytest.raises(ValueError, match="nested more than 1 deep"):
        reading.read_json(path, "config", depth=1)


VALUES = [
    None,
    True,
    -1,
    0,
    1e300,
    -1e300,
    1e-300,
    0.5,
    7,
    12,
    "inf",
    "-inf",
    "",
    "x" * 3000,
    "\x1b[31m",
    [],
    {},
    [[1.0]],
    {"a": 1},
    2**70,
]


def ways(doc, way=()):
    """Paths of everything in a document."""
    items = doc.items() if isinstance(doc, dict) else enumerate(doc) if isinstance(doc, list) else ()
    for key, value in items:
        yield (*way, key)
        yield from ways(value, (*way, key))


def mutated(rng, doc, arrays):
    doc, arrays = copy.deepcopy(doc), {k: v.copy() for k, v in arrays.items()}
    for kind in sorted(rng.integers(0, 4, int(rng.integers(1, 4)))):
        if kind == 0:  # weights, wildly: the digest fits
            name = str(rng.choice(sorted(k for k in arrays if k.startswith("layers"))))
            arrays[name] = arrays[name] * rng.choice([1e3, -1e3, 1e150, 0.0]) + rng.normal(
                0, rng.choice([0.0, 100.0]), arrays[name].shape
            )
        elif kind == 1:  # the law's numbers
            law = doc["law"]["coefficients"]
            key = str(rng.choice(sorted(law)))
            law[key] = float(rng.choice([0.0, 1.0, -1.0, 1e-3, 1e3, 1e300, 50.0, 0.3])) if rng.random() < 0.8 else "inf"
        elif kind == 2:
            doc["action"][str(rng.choice(["residual_scale", "threshold_scale"]))] = float(
                rng.choice([1e-9, 3.9, 9.9, 10.0, 1e9])
            )
        else:
            everything = list(ways(doc))
            put(doc, everything[int(rng.integers(len(everything)))], VALUES[int(rng.integers(len(VALUES)))])
    return doc, arrays


def test_mutated_files_are_refused_cleanly_or_decide_within_bounds(tmp_path):
    rng = np.random.default_rng(4)
    originals = {name: parts(name) for name in zoo.names()}
    lanes = 64
    records = 10.0 ** rng.uniform(-6, 6, (R.N_RECORD, lanes))
    records[R.ERR] = np.geomspace(1e-8, 1e8, lanes)
    records[R.ERR, :3] = np.nan, np.inf, 0.0
    records[R.FINITE], records[R.ORDER] = 1.0, 5.0
    records[R.TRUNCATED] = rng.random(lanes) < 0.1
    heads = rng.uniform(-5, 5, (N_HEAD, lanes))
    heads[4:] = rng.integers(0, 3, (2, lanes))
    read = 0
    for i in range(500):
        name = list(originals)[i % len(originals)]
        path = tmp_path / "m.safetensors"
        try:
            controller = file.load(forge(path, *mutated(rng, *originals[name])))
        except ValueError as error:
            message = str(error)
            assert message.startswith(f"{path}: ") and message.isprintable() and len(message) - len(str(path)) < 700, (
                message
            )
            continue
        read += 1
        assert file.describe(controller).replace("\n", "").isprintable()
        state = np.zeros((controller.n_state, lanes))
        state[:N_HEAD] = heads
        for _ in range(3):
            out = controller.decide_numpy(state, records)
            accepted = out[ACCEPT] > 0.5
            assert np.all(np.isin(out[ACCEPT], (0.0, 1.0))) and np.all(records[R.ERR][accepted] <= ACCEPT_MAX)
            assert not np.any(np.isnan(out[LOG_FACTOR][accepted]))
            most = np.log(
                max(
                    controller.decision.law["fmax"],
                    controller.decision.law["fmax_first"],
                    controller.decision.law["keep_min"],
                )
            )
            assert np.all(out[LOG_FACTOR][accepted] <= max(most, controller.decision.law["keep_min"]) + 1e-12)
    assert 100 < read < 450
