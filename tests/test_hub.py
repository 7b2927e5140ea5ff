"""Controllers from the Hugging Face Hub: what a name pins, what is refused, and that nothing is trusted unread."""

import hashlib
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import stepsmith as ss
from stepsmith.controllers import hub, resolve, zoo
from stepsmith.controllers.file import load_learned
from stepsmith.controllers.file.reading import load
from stepsmith.train.bench.submission import _found
from stepsmith.train.cli import program as cli

DATA = zoo.read("three-body-formula")
SHA = hashlib.sha256(DATA).hexdigest()
COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "hf:someone/orbits"


class LocalEntryNotFoundError(FileNotFoundError, ValueError):
    """As huggingface_hub's: neither a connection nor the file in the cache."""


class RepositoryNotFoundError(OSError):
    pass


class EntryNotFoundError(OSError):
    pass


class RevisionNotFoundError(OSError):
    pass


class Stub(types.ModuleType):
    """`huggingface_hub` over a folder: `remote` holds what the Hub has, `cache` what is on this machine."""

    def __init__(self, folder):
        super().__init__("huggingface_hub")
        self.blobs, self.remote, self.cache, self.asked, self.error, self.files = folder, {}, {}, [], None, 0

    def put(self, where, data, key=("someone/orbits", "controller.safetensors", "main"), name=None):
        blob = self.blobs / (name or hashlib.sha256(data).hexdigest())
        blob.write_bytes(data)
        self.files += 1
        path = self.blobs / str(self.files) / "snapshots" / key[2] / key[1]
        path.parent.mkdir(parents=True)
        path.symlink_to(blob)
        where[key] = str(path)

    def try_to_load_from_cache(self, repo_id, filename, revision=None):
        return self.cache.get((repo_id, filename, revision))

    def hf_hub_download(self, repo_id, filename, *, revision=None):
        self.asked.append((repo_id, filename, revision))
        if self.error is not None:
            raise self.error
        self.cache[repo_id, filename, revision] = self.remote[repo_id, filename, revision]
        return self.cache[repo_id, filename, revision]


@pytest.fixture
def stub(tmp_path, monkeypatch):
    module = Stub(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return module


def same(controller):
    assert np.array_equal(controller.weights, load_learned("three-body-formula").weights)
    return True


def test_what_a_name_says():
    long = f"hf:some-one/or.bits/sub/three.safetensors@v1.0#sha256={SHA.upper()}"
    assert hub.place(long) == hub.Place(long, "some-one/or.bits", "sub/three.safetensors", "v1.0", SHA)
    assert hub.place(NAME) == hub.Place(NAME, "someone/orbits", "controller.safetensors", "main", None)
    assert hub.place(f"{NAME}@{COMMIT}").pinned and hub.place(f"{NAME}#sha256={SHA}").pinned
    for loose in (NAME, f"{NAME}@v1", f"{NAME}@{COMMIT[:39]}", f"{NAME}@{COMMIT.upper()}"):
        assert not hub.place(loose).pinned


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("hf:", "is named hf:OWNER/REPO"),
        ("hf:orbits", "is named hf:OWNER/REPO"),
        ("hf:../orbits", "is named hf:OWNER/REPO"),
        (f"{NAME}/weights.pkl", "must be a .safetensors of the repository"),
        (f"{NAME}/a/../b.safetensors", "must be a .safetensors of the repository"),
        (f"{NAME}@a/../../b#sha256={SHA}", "@ must be followed by a branch"),
        (f"{NAME}@a//b#sha256={SHA}", "@ must be followed by a branch"),
        (f"{NAME}#sha256=abc", "must be sha256= and 64 digits"),
        (f"{NAME}#md5={SHA}", "must be sha256= and 64 digits"),
        (f"{NAME}#", "must be sha256= and 64 digits"),
    ],
)
def test_a_bad_name_is_refused(stub, name, says):
    with pytest.raises(ValueError, match=says.replace(".", r"\.")):
        ss.load_controller(name)
    assert stub.asked == []


@pytest.mark.parametrize("pinned", [f"{NAME}#sha256={SHA}", f"{NAME}@{COMMIT}", f"{NAME}@v2#sha256={SHA}"])
def test_a_pinned_file_is_fetched_once(stub, pinned):
    revision = hub.place(pinned).revision
    stub.put(stub.remote, DATA, ("someone/orbits", "controller.safetensors", revision))
    assert same(ss.load_controller(pinned)) and same(ss.controller(pinned))
    assert stub.asked == [("someone/orbits", "controller.safetensors", revision)]


def test_what_pins_nothing_is_refused_with_the_remedy(stub):
    stub.put(stub.remote, DATA)
    for name in (NAME, f"{NAME}@main", f"{NAME}@{COMMIT[:12]}"):
        with pytest.raises(hub.HubError, match="add #sha256= and the 64 digits .*, or @ and the 40 digits of a commit"):
            ss.load_controller(name)
    assert stub.asked == []


def test_what_pins_nothing_is_taken_from_the_cache_where_it_is_whole(stub):
    git = hashlib.sha1(b"blob %d\0" % len(DATA) + DATA).hexdigest()
    for name in (None, git):
        stub.put(stub.cache, DATA, name=name)
        assert same(ss.load_controller(NAME))
    stub.put(stub.cache, DATA, name=SHA[::-1])
    with pytest.raises(hub.HubError, match="is not fetched"):
        ss.load_controller(NAME)
    assert stub.asked == []


@pytest.mark.parametrize("where", ["cache", "remote"])
def test_a_branch_that_is_called_like_a_commit_pins_nothing(stub, where):
    """The library keeps its file in the folder of the commit that the branch is at."""
    key, at = (("someone/orbits", "controller.safetensors", revision) for revision in (COMMIT, "f" * 40))
    files = getattr(stub, where)
    stub.put(files, DATA, at)
    files[key] = files[at]
    with pytest.raises(hub.HubError, match=f"{COMMIT} names a branch or a tag of someone/orbits, which may move"):
        ss.load_controller(f"{NAME}@{COMMIT}")
    assert same(ss.load_controller(f"{NAME}@{COMMIT}#sha256={SHA}"))


def test_a_file_of_a_commit_that_changed_in_the_cache_is_refused(stub):
    stub.put(stub.cache, zoo.read("three-body"), ("someone/orbits", "controller.safetensors", COMMIT), name=SHA)
    with pytest.raises(hub.HubError, match="not what the cache calls it, so that it changed"):
        ss.load_controller(f"{NAME}@{COMMIT}")


def test_another_file_is_refused_with_both_digests(stub):
    other = zoo.read("three-body")
    stub.put(stub.remote, other)
    found = hashlib.sha256(other).hexdigest()
    with pytest.raises(hub.HubError, match=f"SHA-256 is {found}, and the name says {SHA}"):
        ss.load_controller(f"{NAME}#sha256={SHA}")
    stub.put(stub.remote, DATA)  # the right one comes later: an old one in the cache is fetched anew
    assert same(ss.load_controller(f"{NAME}#sha256={SHA}")) and len(stub.asked) == 2


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (LocalEntryNotFoundError("offline"), "the Hub cannot be reached, and the cache of this machine does not have"),
        (RepositoryNotFoundError("404"), "there is no repository someone/orbits on the Hub"),
        (RevisionNotFoundError("404"), "has no revision 'main'"),
        (EntryNotFoundError("404"), "has no file 'controller.safetensors' at revision 'main'"),
        (ConnectionError("no\nroute"), "cannot be fetched (ConnectionError: "),
    ],
)
def test_what_cannot_be_fetched_is_one_clear_error(stub, capsys, error, says):
    stub.error = error
    with pytest.raises(SystemExit) as stop:
        cli.main(["inspect", f"{NAME}#sha256={SHA}"])
    out, err = capsys.readouterr()
    assert stop.value.code == 2 and out == "" and len(err.splitlines()) == 1 and says in err


def test_a_file_that_is_no_controller_is_refused_as_from_a_path(stub, tmp_path):
    for data, says in ((DATA[:-40], "controller file|truncated|safetensors"), (b"\x80\x04cos\nsystem\n", ".")):
        stub.put(stub.remote, data)
        with pytest.raises(ValueError, match=says) as caught:
            ss.load_controller(f"{NAME}#sha256={hashlib.sha256(data).hexdigest()}")
        assert NAME in str(caught.value)


def test_it_stands_wherever_a_controller_is_named(stub, tmp_path, capsys):
    stub.put(stub.remote, DATA)
    name = f"{NAME}#sha256={SHA}"
    problem = ss.problems.make("lotka_volterra", seed=0)
    here, there = (ss.solve(problem, "tsit5", c) for c in ("three-body-formula", name))
    assert np.array_equal(here.y, there.y) and np.array_equal(here.t, there.t)
    assert same(resolve.controller(name)) and same(load(name)) and same(load_learned(name))
    assert _found(name, None)[:2] == (name, SHA)
    with pytest.raises(SystemExit) as stop:
        cli.main(["export", name, "--to", "c", "--out", str(tmp_path / "law.h")])
    assert stop.value.code in (0, None) and (tmp_path / "law.h").stat().st_size > 0
    settings = tmp_path / "recommended.toml"
    settings.write_text(f'method = "tsit5"\ncontroller = "{name}"\nrtol = 1e-6\natol = 1e-9\n')
    assert ss.solve(problem, **ss.settings(settings)).success


def test_a_training_config_names_one(stub):
    pytest.importorskip("torch")
    from stepsmith.train.config import config
    from stepsmith.train.config.resolved import resolved

    stub.put(stub.remote, DATA)
    data = {"name": "toy", "algorithm": "es", "env": {"family": "lotka_volterra", "method": "tsit5"},
            "evaluate": {"against": f"{NAME}#sha256={SHA}"}}  # fmt: skip
    resolved(config.from_dict(data))
    assert stub.asked
    with pytest.raises(ValueError, match="nothing says what this file must hold"):
        resolved(config.from_dict({**data, "evaluate": {"against": f"{NAME}@other"}}))


def test_a_strength_of_the_hub(stub):
    pytest.importorskip("torch")
    data = zoo.read("regularization.strength")
    stub.put(stub.remote, data)
    name = f"{NAME}#sha256={hashlib.sha256(data).hexdigest()}"
    assert type(ss.load_controller(name)) is type(ss.load_controller("regularization"))
    with pytest.raises(ValueError, match="holds a strength"):
        ss.controller(name)


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'stepsmith\[hub\]'"):
        ss.load_controller(f"{NAME}#sha256={SHA}")


def test_the_library_itself_offline(tmp_path):
    """Its cache as it lays it out, without a connection: a file that is there, and one that is not."""
    pytest.importorskip("huggingface_hub")
    repo = tmp_path / "hub" / "models--someone--orbits"
    blob, snapshot = repo / "blobs" / SHA, repo / "snapshots" / COMMIT
    for folder in (blob.parent, snapshot, repo / "refs"):
        folder.mkdir(parents=True)
    blob.write_bytes(DATA)
    (snapshot / "controller.safetensors").symlink_to(Path("../../blobs") / SHA)
    (repo / "refs" / "main").write_text(COMMIT)
    branch = COMMIT[::-1]
    (repo / "refs" / branch).write_text(COMMIT)
    names = [NAME, f"{NAME}#sha256={SHA}", f"{NAME}@{COMMIT}", f"{NAME}#sha256={SHA[::-1]}", f"hf:no/one@{COMMIT}",
             f"{NAME}@{branch}", f"hf:no--one/orbits@{COMMIT}"]  # fmt: skip
    code = (
        "import json, sys, stepsmith as ss\n"
        "def tried(name):\n"
        "    try: return ss.load_controller(name).name\n"
        "    except ValueError as error: return f'{type(error).__name__}: {error}'\n"
        "print(json.dumps([tried(name) for name in json.loads(sys.argv[1])]))"
    )
    env = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    run = subprocess.run([sys.executable, "-c", code, json.dumps(names)], capture_output=True, text=True, env=env)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found[5].startswith("HubError: ") and "names a branch or a tag" in found[5]
    assert found[6].startswith("HubError: hf:no--one/orbits@")
    assert found[:3] == ["three-body-formula"] * 3
    assert found[3].startswith("HubError: ") and f"the name says {SHA[::-1]}" in found[3]
    assert found[4].startswith("HubError: hf:no/one@") and "cannot be reached" in found[4]
