"""A controller that is named by its file is read anew where the file has changed, and only there."""

import os
import time

import pytest

import stepsmith
from controller_files import network, same
from stepsmith.controllers import file, kept
from stepsmith.controllers.laws import registry, tuned


@pytest.fixture
def later(monkeypatch):
    """The clock is a minute on, so that files written just now have settled."""
    now = time.time_ns
    monkeypatch.setattr(kept, "_KEPT", {})
    monkeypatch.setattr(kept.time, "time_ns", lambda: now() + 60_000_000_000)


@pytest.fixture(params=("c.safetensors", "law.json"))
def path(request, tmp_path):
    return tmp_path / request.param


def write(path, number):
    if path.suffix == ".json":
        return tuned.write(path, registry.get("pi34").replace(safety=0.8 + 0.01 * number), {})
    return file.save(network().replace(name=f"number-{number}"), path)


def told(path):
    """What tells the controllers of `write` from each other."""
    found = stepsmith.controller(path)
    return found["safety"] if path.suffix == ".json" else found.name


def test_it_is_read_once(path, later):
    write(path, 1)
    assert stepsmith.controller(path) is stepsmith.controller(str(path))


def test_a_changed_file_is_read_again(path, later):
    write(path, 1)
    first = told(path)
    write(path, 2)
    assert told(path) != first
    before = path.stat()
    data = path.read_bytes()
    write(path, 3)
    assert told(path) != first
    path.write_bytes(data)  # another content in the same file, of the same size and time of change
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = told(path)
    write(path, 2)
    assert told(path) == second
    path.unlink()
    with pytest.raises((ValueError, FileNotFoundError)):
        told(path)


def test_a_young_file_is_read_every_time(path, monkeypatch):
    monkeypatch.setattr(kept, "_KEPT", {})
    write(path, 1)
    assert stepsmith.controller(path) is not stepsmith.controller(path) and not kept._KEPT


def test_one_that_changes_while_it_is_read_is_not_kept(path, later):
    def read(name):
        path.write_bytes(b"something else altogether")
        return name

    write(path, 1)
    assert kept.kept(str(path), read) == str(path) and not kept._KEPT


def test_the_room_is_bounded(tmp_path, later, monkeypatch):
    monkeypatch.setattr(kept, "MOST", 2)
    for i in range(5):
        path = tmp_path / f"{i}"
        path.write_text(str(i))
        assert kept.kept(str(path), lambda name: open(name).read()) == str(i)
    assert len(kept._KEPT) <= 2


def test_what_is_kept_is_what_is_in_the_file(tmp_path, later):
    path = file.save(network(), tmp_path / "c.safetensors")
    stepsmith.controller(path)
    assert same(stepsmith.controller(path), file.load(path))
