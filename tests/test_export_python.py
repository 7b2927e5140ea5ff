"""Controllers as a Python file: it needs NumPy alone and decides as the package does; and `stepsmith export --to`."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from exported import BLOCK, NAMES, RECORDED, answers, controller, drawn, recorded, ulps
from stepsmith.controllers import export
from stepsmith.controllers.file import document, load, save
from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.network import Learned
from stepsmith.integrators.core import record as rec
from stepsmith.integrators.core.errors import OptionError
from stepsmith.integrators.core.runner import Runner
from stepsmith.train import cli

ACTIVATIONS = ("tanh", "relu", "elu", "silu", "gelu", "gelu_tanh", "leaky_relu(0.07)")


def network(activation, squash="clip", frames=1, table=None, **rest):
    """A network that no file ships."""
    rng = np.random.default_rng(8)
    d = Decision(("log_err", "log_ratio_1", "log_err_1"), "h211b", shift=[0.1, -0.2, 0.3], scale=[0.5, 2.0, 1.0])
    sizes = [3 * frames, 6, 2 if table is None else len(table)]
    layers = [
        (rng.normal(0, 0.7, (b, a)), rng.normal(0, 0.3, b), act)
        for a, b, act in zip(sizes[:-1], sizes[1:], (activation, "linear"), strict=True)
    ]
    return Learned(d, layers, squash, table, frames=frames, **rest)


def loaded(one):
    """What the text of a file defines."""
    names: dict = {}
    exec(compile(export.python_file(one), "exported", "exec"), names)
    return names


def keywords(names, row):
    return {slot: row[..., rec.NAMES.index(slot)] for slot in names["SLOTS"]}


@pytest.mark.parametrize("name", NAMES)
def test_one_trajectory_decides_as_the_package_does(name):
    rows = drawn(10 * BLOCK, sum(map(ord, name)))
    names, wanted, found = loaded(controller(name)), answers(name, rows), []
    one = names["Controller"]()
    for k, row in enumerate(rows):
        if k % BLOCK == 0:
            one.init()
        accept, factor = one.decide(**keywords(names, row))
        assert type(accept) is bool and type(factor) is float
        found.append([accept, one.log_factor, one.flags, one.fallback])
        np.testing.assert_allclose(factor, np.exp(one.log_factor), rtol=1e-15)
    found = np.array(found, float)
    assert np.array_equal(found[:, [0, 2, 3]], wanted[:, [0, 2, 3]])
    assert ulps(found[:, 1], wanted[:, 1]) <= 4.0
    assert len(set(wanted[:, 0])) == 2


@pytest.mark.parametrize("one", [
    *(controller(name) for name in ("pi34", "predictive", "aarseth", "constant_step", "three-body", "stiff")),
    *(network(activation) for activation in ACTIVATIONS), network("tanh", "tanh", 4),
    network("relu", "argmax", 2, [[a, b] for a in (-1.0, 0.3, 0.0) for b in (-0.5, 0.7)]),
], ids=lambda one: f"{one.name} {getattr(one, 'shapes', '')}")  # fmt: skip
def test_lanes_decide_as_the_runner_of_as_many(one):
    rows = np.stack([drawn(BLOCK, seed) for seed in range(7)], axis=1)
    names, runner = loaded(one), Runner(one, 7)
    ours = names["Controller"](7)
    for row in rows:
        accept, factor = ours.decide(**keywords(names, row))
        wanted = runner.decide(list(row.T.copy()))
        found = [accept, ours.log_factor, ours.flags, ours.fallback]
        assert all(x.shape == (7,) for x in (*found, factor))
        assert all(np.array_equal(found[i], wanted[i]) for i in (0, 2, 3))
        assert ulps(found[1], wanted[1]) <= 4.0


@pytest.mark.parametrize("name", ["h0321", "kuramoto", "aarseth"])
def test_the_engines_own_attempts(name):
    log = recorded(name)
    names = loaded(controller(name))
    one, found = names["Controller"](), []
    for row in log.records:
        accept, _ = one.decide(**keywords(names, row))
        found.append((accept, float(one.log_factor)))
    accept, log_factor = np.array(found, float).T
    assert name in RECORDED and np.array_equal(accept, log.accept)
    np.testing.assert_allclose(log_factor, log.log_factor, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("name", ["aarseth", "amuse", "ias15", "constant_step", "pi34"])
def test_first_size(name):
    names, one = loaded(controller(name)), controller(name)
    rows = drawn(60, 3)
    attempt = {slot: rows[:, rec.NAMES.index(slot)] for slot in names["SLOTS"]}
    with np.errstate(all="ignore"):
        found = np.broadcast_to(names["first"](attempt, np.full(60, 0.125)), 60)
        size = np.full(60, np.nan)
        if one.first is not None:
            size = one.first(list(one.params), [0.0] * one.n_state, list(rows.T.copy()))
    assert np.array_equal(found, np.where(np.broadcast_to(size, 60) > 0.0, size, 0.125))


def test_it_takes_scipys_steps_under_scipys_law(tmp_path):
    """In a process that has nothing of the package: Dormand-Prince out of SciPy's tableau, the law out of the file."""
    (tmp_path / "scipy_law.py").write_text(export.python_file(controller("scipy")))
    (tmp_path / "host.py").write_text(HOST)
    call = [sys.executable, "-I", "host.py"]
    run = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    theirs = solve_ivp(
        lambda t, y: [y[1], -np.sin(y[0])], (0.0, 10.0), [1.0, 1.0], rtol=1e-6, atol=1e-9, first_step=0.3
    )  # fmt: skip
    assert found["modules"] == [] and found["rejected"] > 0
    assert len(found["t"]) == len(theirs.t) > 20
    np.testing.assert_allclose(found["t"], theirs.t, rtol=1e-6)


HOST = """
import importlib.util, json, sys
import numpy as np
from scipy.integrate import RK45
spec = importlib.util.spec_from_file_location("scipy_law", "scipy_law.py")
law = importlib.util.module_from_spec(spec)
spec.loader.exec_module(law)
A, B, C, E = RK45.A, RK45.B, RK45.C, RK45.E
f = lambda t, y: np.array([y[1], -np.sin(y[0])])
t, t_end, y, want, rejected = 0.0, 10.0, np.array([1.0, 1.0]), 0.3, 0
controller = law.Controller()
times = [t]
while t < t_end:
    cut = want > t_end - t
    h = t_end - t if cut else want
    k = [f(t, y)]
    for a, c in zip(A[1:], C[1:]):
        k.append(f(t + c * h, y + h * (a[: len(k)] @ np.array(k))))
    y1 = y + h * (B @ np.array(k))
    k.append(f(t + h, y1))
    scale = 1e-9 + 1e-6 * np.maximum(abs(y), abs(y1))
    err = np.sqrt(np.mean((h * (E @ np.array(k)) / scale) ** 2))
    accept, factor = controller.decide(err=err, h=h, order=5, truncated=cut, finite=np.isfinite(err))
    if accept:
        t, y = t_end if cut else t + h, y1
        times.append(t)
    rejected += not accept
    want = (want if accept and cut else h) * factor
modules = [name for name in sys.modules if name.startswith(("stepsmith", "numba"))]
print(json.dumps({"t": times, "modules": modules, "rejected": rejected}))
"""


@pytest.mark.parametrize("name", ["pi34", "three-body", "stiff", "aarseth"])
def test_a_file_imports_numpy_alone_and_runs_nothing(name):
    text = export.python_file(controller(name), "some_name")
    tree = ast.parse(text)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [alias.name for node in imports for alias in node.names] == ["math", "numpy"]
    assert 'NAME = "some_name"' in text and text.isascii() and max(map(len, text.splitlines())) < 1100
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert called <= {"decide", "_layer", "bool", "float", "tuple", "_relu_0"}


def test_names_and_texts_cannot_break_out():
    one = network("tanh", name='x\n"""\nimport os', family="'''\n#", provenance={"a\nb": "\\\nimport os"})
    text = export.python_file(one)
    assert "\nimport os" not in text and loaded(one)["NAME"] == "x_import_os"
    for bad in ("a b", "class", "1a", "", 3, "é"):
        with pytest.raises(OptionError, match="name must be an identifier"):
            export.python_file(one, bad)


def main(*args):
    with pytest.raises(SystemExit) as ended:
        cli.main([str(a) for a in args])
    return ended.value.code


def test_the_command_writes_each_kind(tmp_path, capsys):
    save(controller("three-body").replace(name="mine"), tmp_path / "mine.safetensors")
    (tmp_path / "run").mkdir()
    save(controller("kuramoto"), tmp_path / "run" / "controller.safetensors")
    for what, to, out, words in (
        ("pi34", "c", "pi34.h", "int pi34_decide("),
        (tmp_path / "mine.safetensors", "python", "new/mine.py", 'NAME = "mine"'),
        ("three-body", "c", "t.hpp", "#define THREE_BODY_TOLERANCE_SCALE 1.0"),
        (tmp_path / "run", "c", "k.h", "int kuramoto_decide("),
    ):
        assert main("export", what, "--to", to, "--out", tmp_path / out) == 0
        assert capsys.readouterr().out.strip() == str(tmp_path / out)
        assert words in (tmp_path / out).read_text()
    assert main("export", "pi34", "--to", "c", "--name", "mine", "--out", tmp_path / "n.h") == 0
    assert (tmp_path / "n.h").read_text() == export.c_header(controller("pi34"), "mine")
    assert main("export", "three-body", "--to", "onnx", "--out", tmp_path / "t.onnx") == 0
    assert (tmp_path / "t.onnx").read_bytes() == export.onnx_model(controller("three-body")).SerializeToString()
    assert main("export", tmp_path / "run", "--out", tmp_path / "again.safetensors") == 0  # as ever
    again, before = load(tmp_path / "again.safetensors"), controller("kuramoto")
    assert document(again) == document(before) and np.array_equal(again.weights, before.weights)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["pi34", "--to", "fortran", "--out", "x.f"], "unknown --to 'fortran'"),
        (["pi35", "--to", "c", "--out", "x.h"], "did you mean 'pi34'"),
        (["pi34", "--to", "c", "--out", "x.py"], "--out must end in .h"),
        (["pi34", "--to", "onnx", "--out", "x.onnx"], "has no network"),
        (["pi34", "--to", "c", "--out", "x.h", "--name", "a-b"], "name must be an identifier"),
        (["three-body", "--to", "onnx", "--out", "x.onnx", "--name", "a"], "--name goes with"),
        (["somewhere", "--out", "x.safetensors", "--name", "a"], "--name goes with --to"),
        (["nothing.safetensors", "--to", "c", "--out", "x.h"], "nothing.safetensors"),
        (["empty", "--to", "c", "--out", "x.h"], "no controller in this run folder"),
        (["pi34", "--to", "c", "--out", "empty"], "--out must be a file"),
        (["tuned", "--to", "c", "--out", "x.h"], "belongs to a family"),
    ],
)
def test_bad_input_ends_in_one_line(tmp_path, monkeypatch, capsys, args, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert main("export", *args) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1 and sorted(os.listdir(tmp_path)) == ["empty"]
