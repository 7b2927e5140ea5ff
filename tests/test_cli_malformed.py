"""Malformed calls of the command line: each is refused with one line that names what is wrong, before anything is
drawn, solved or written.

The positive control, what ships, is in `test_settings.py`.
"""

from __future__ import annotations

import os

import pytest

pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")
pytest.importorskip("cma")

from malformed import CONFIGS, EFFECTS, ES, SWEEP, changed, command_of, ident, write  # noqa: E402
from stepsmith.train.cli import program as cli
from stepsmith.train.config import reading  # noqa: E402

DEEP_LIST, DEEP_TABLE = "[" * 100_000 + "]" * 100_000, "x = " + "[" * 5_000 + "]" * 5_000


HUGE = "9" * 17
# arguments, and what the line says; {x} stands for files of `files`
CALLS = [
    (["nosuch"], "nosuch"),
    (["train"], "Missing"),
    (["train", "nosuch"], "unknown config"),
    (["train", "x" * 5000], "File name too long"),
    (["train", "{deep_toml}"], "nested too deeply"),
    (["train", "{binary}"], "not a TOML file"),
    (["train", "{empty}"], "missing"),
    (["train", "{folder}"], "a folder, not a TOML file"),
    (["train", "/dev/zero"], "a device or socket"),
    (["train", "{not_toml}"], "not a TOML file"),
    (["train", "{digits}"], "not a TOML file"),
    (["train", "{good}", "--seed", "-1"], "--seed"),
    (["train", "{good}", "--seed", HUGE], "--seed"),
    (["train", "{good}", "--seed", "nan"], "--seed"),
    (["train", "{good}", "--out", "{binary}"], "out cannot be"),
    (["train", "{good}", "--out", "{binary}/x"], "out cannot be"),
    (["train", "{good}", "--out", "{folder}/none", "--resume"], "no run to resume"),
    (["tune"], "Missing"),
    (["tune", "lorens"], "did you mean 'lorenz'"),
    (["tune", "x" * 5000], "unknown problem family"),
    (["tune", "lorenz", "--n", HUGE], "--n"),
    (["tune", "lorenz", "--n", "-1"], "--n"),
    (["tune", "lorenz", "--n", "1000000"], "GiB"),
    (["tune", "lorenz", "--n-validation", HUGE], "--n-validation"),
    (["tune", "lorenz", "--evaluations", "5"], "evaluations"),
    (["tune", "lorenz", "--evaluations", "9" * 30], "evaluations"),
    (["tune", "lorenz", "--restarts", HUGE], "restarts"),
    (["tune", "lorenz", "--seed", HUGE], "--seed"),
    (["tune", "lorenz", "--method", "tsit6"], "did you mean 'tsit5'"),
    (["tune", "lorenz", "--method", ""], "method"),
    (["tune", "lorenz", "--start", "{deep_json}"], "nested too deeply"),
    (["tune", "lorenz", "--start", "{missing}"], "--start"),
    (["tune", "lorenz", "--start", "{folder}"], "--start"),
    (["tune", "lorenz", "--start", "{binary}"], "not a JSON file"),
    (["tune", "lorenz", "--start", "{list_json}"], "not a tuned law"),
    (["tune", "lorenz", "--out", "{folder}"], "--out"),
    (["tune", "lorenz", "--warm"], "--warm"),
    (["tune", "lorenz", "--batch", "7"], "--batch"),
    (["compare"], "Missing"),
    (["compare", "lorens"], "did you mean 'lorenz'"),
    (["compare", "lorenz", "--n", "x"], "--n"),
    (["compare", "lorenz", "--n", "1"], "--n"),
    (["compare", "lorenz", "--n", HUGE], "--n"),
    (["compare", "lorenz", "--seed", "1e3"], "--seed"),
    (["compare", "lorenz", "--method", "tsit6"], "did you mean 'tsit5'"),
    (["compare", "lorenz", "--method", "rodas5p", "--oracle", "1"], "oracle"),
    (["compare", "lorenz", "-c", "pi43"], "unknown controller"),
    (["compare", "lorenz", "-c", ""], "unknown controller"),
    (["compare", "lorenz", "-c", "{deep_json}"], "nested too deeply"),
    (["compare", "lorenz", "-c", "{binary}"], "binary"),
    (["compare", "lorenz", "--repeats", HUGE], "repeats"),
    (["compare", "lorenz", "--oracle", "-1"], "--oracle"),
    (["compare", "lorenz", "--out", "{binary}"], "--out"),
    (["compare", "stiff", "--headline", "x"], "--headline"),
    (["compare", "stiff", "--n", "1000000"], "n must be"),
    (["export", "{missing}", "--out", "x.safetensors"], "no controller"),
    (["export", "{binary}", "--out", "x.safetensors"], "no controller"),
    (["export", "{folder}"], "--out"),
    (["export", "{folder}", "--out", "{folder}"], "--out"),
    (["inspect"], "Missing"),
    (["inspect", "nosuch"], "unknown controller"),
    (["inspect", "{missing}.json"], "no such file"),
    (["inspect", "{missing}.safetensors"], "missing"),
    (["inspect", "{deep_json}"], "nested too deeply"),
    (["inspect", "{list_json}"], "not a tuned law"),
    (["inspect", "{binary_json}"], "not a JSON file"),
    (["inspect", "{folder_json}"], "a folder, not a JSON file"),
    (["list", "famlies"], "did you mean 'families'"),
    (["list"], "Missing"),
    (["sweep", "{missing}"], "no such file"),
    (["sweep", "{good}"], "no [sweep] table"),
    (["sweep", "{deep_toml}"], "nested too deeply"),
    (["sweep", "{good_sweep}", "--seed", HUGE], "--seed"),
    (["sweep", "{good_sweep}", "--out", "{binary}"], "out cannot be"),
    (["effects", "{missing}"], "no such comparison file"),
    (["effects", "{deep_toml}"], "nested too deeply"),
    (["effects", "{folder}"], "a folder"),
    (["effects", "{good_effects}", "--part", "3/2"], "part"),
    (["effects", "{good_effects}", "--part", "x"], "part"),
    (["effects", "{good_effects}", "--part", "0/" + "9" * 5000], "part"),
    (["effects", "{good_effects}", "--seed", HUGE], "--seed"),
    (["effects", "{good_effects}", "--out", "{binary}"], "--out"),
    (["demo", "--seed", "-1"], "--seed"),
    (["demo", "--seed", HUGE], "--seed"),
    (["demo", "--out", "{binary}"], "out cannot be"),
    (["demo", "--quik"], "--quik"),
]


@pytest.fixture
def refused(capsys, monkeypatch, tmp_path):
    """refused(*args): runs the command, which must end with one line on standard error; returns the line."""
    from stepsmith.train.evaluate import compare, suite_measured
    from stepsmith.train.neural import effects, folder
    from stepsmith.train.run import rundir
    from stepsmith.train.tune import search as tune
    from stepsmith.train.tune import sweep

    def began(*args, **kwargs):
        raise AssertionError("work began")

    for module, name in (
        (rundir.RunDir, "write"), (folder.NeuralRun, "write"), (tune, "draw"), (compare, "draw"),
        (suite_measured, "draw"),
        (sweep, "_train"), (effects, "train"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, began)
    monkeypatch.setenv("STEPSMITH_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)

    def call(*args):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(SystemExit) as stop:
            cli.main([str(a) for a in args])
        out, err = capsys.readouterr()
        lines = [line for line in err.splitlines() if line.strip()]
        assert stop.value.code == 2 and out == "", err
        assert len(lines) == 1 and lines[0].startswith("stepsmith: ") and "Traceback" not in err
        assert len(lines[0]) < 2100 and lines[0].isprintable()
        assert sorted(tmp_path.rglob("*")) == before  # nothing is left behind
        return lines[0]

    return call


@pytest.fixture
def files(tmp_path):
    """Files of every kind, by the names that `CALLS` uses."""
    made = {name: tmp_path / name for name in ("binary", "empty", "folder", "missing")}
    made["binary"].write_bytes(b"\x00\xff\xfe" * 100)
    made["empty"].write_text("")
    made["folder"].mkdir()
    texts = {"deep_toml": DEEP_TABLE, "not_toml": "name = ", "digits": "seed = " + "9" * 5000}
    for name, text in texts.items():
        made[name] = tmp_path / f"{name}.toml"
        made[name].write_text(text)
    for name, text in (("deep_json", DEEP_LIST), ("list_json", "[]")):
        made[name] = tmp_path / f"{name}.json"
        made[name].write_text(text)
    made["binary_json"], made["folder_json"] = tmp_path / "b.json", tmp_path / "f.json"
    made["binary_json"].write_bytes(made["binary"].read_bytes())
    made["folder_json"].mkdir()
    for name, data in (("good", ES), ("good_sweep", SWEEP), ("good_effects", EFFECTS)):
        made[name] = write(data, tmp_path / f"{name}.toml")
    return made


@pytest.mark.parametrize("base, name, value, says", CONFIGS, ids=ident)
def test_a_malformed_config_is_refused_in_one_line(refused, tmp_path, base, name, value, says):
    file = write(changed(base, name, value), tmp_path / "bad.toml")
    assert says in refused(command_of(base), file, "--out", tmp_path / "o" / "run")
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("args, says", CALLS, ids=ident)
def test_a_malformed_call_is_refused_in_one_line(refused, files, args, says):
    assert says in refused(*(a.format(**files) if "{" in a else a for a in args))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX files")
@pytest.mark.parametrize("args", [
    ["inspect", "pipe.json"], ["tune", "lorenz", "--start", "pipe.json"], ["compare", "lorenz", "-c", "pipe.json"],
    ["train", "pipe.toml"], ["sweep", "pipe.toml"], ["effects", "pipe.toml"],
], ids=lambda args: args[0])  # fmt: skip
def test_a_named_pipe_is_refused_and_not_waited_for(refused, tmp_path, args):
    path = tmp_path / args[-1]
    os.mkfifo(path)
    assert "a pipe" in refused(*args[:-1], path)


def test_a_large_text_is_refused(tmp_path):
    path = tmp_path / "large.toml"
    with path.open("wb") as f:
        f.truncate(2**24 + 1)
    with pytest.raises(ValueError, match="more than the limit of 16777216 bytes for a TOML file"):
        reading.toml(path)


def test_the_tables_are_as_long_as_they_must_be():
    assert len(CONFIGS) + len(CALLS) >= 108
    assert len({(id(b), n, repr(v)) for b, n, v, _ in CONFIGS}) == len(CONFIGS)


@pytest.mark.parametrize("command, shows", [("train", "[task]"), ("train", "[-<algorit"), ("sweep", "[sweep]")])
def test_help_shows_brackets(capsys, monkeypatch, command, shows):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    out = capsys.readouterr().out
    assert stop.value.code == 0 and shows in out and "\\" not in out
