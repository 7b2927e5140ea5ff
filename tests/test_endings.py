"""How commands end where something comes in between: a second signal, a gone reader, streams that are closed."""

import ctypes
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

from stepsmith.controllers.laws import registry
from stepsmith.train.run import ending, progress
from stepsmith.train.run.interrupted import Kept, keeping, kept_by
from stepsmith.train.tune.unfinished import Lowest, saving


def _nothing(kept: tuple[Kept, ...]) -> str:
    return "begin anew"


def test_one_that_is_no_longer_needed_does_not_come(capsys):
    called = ctypes.CFUNCTYPE(None)(lambda: os.kill(os.getpid(), signal.SIGTERM))
    came = []
    before = signal.signal(signal.SIGTERM, lambda *_: came.append(1))

    def work():
        called()
        raise KeyboardInterrupt

    try:
        assert ending.code_of(work, _nothing) == 130
        time.sleep(3 * ending.AGAIN)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert came == []


def test_a_second_interruption_takes_nothing_away(capsys):
    def work():
        with keeping(lambda: Kept("there", "the second", True)):
            try:
                with keeping(lambda: Kept("here", "the first", True, ("--on",))):
                    raise KeyboardInterrupt
            finally:  # while it cleans up
                raise KeyboardInterrupt

    def again(kept):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        return " ".join(option for one in kept for option in one.options)

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert ending.code_of(work, again) == 130
    assert capsys.readouterr().err.splitlines() == [
        "stepsmith: interrupted", "stepsmith: kept in here: the first", "stepsmith: kept in there: the second",
        "stepsmith: --on",
    ]  # fmt: skip
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_second_interruption_leaves_a_search_its_law(tmp_path):
    lowest = Lowest("lotka_volterra", "tsit5", 0)
    with pytest.raises(KeyboardInterrupt) as stop, saving(lambda found: tmp_path / "law.unfinished.json"):
        try:
            with lowest.noted():
                lowest.see(registry.get("pi34"), "pi34", 1.0)
                raise KeyboardInterrupt
        finally:
            raise KeyboardInterrupt
    assert [one.place for one in kept_by(stop.value)] == [str(tmp_path / "law.unfinished.json")]


#: an interruption within exec of a text, after which Python's own end would be one by SIGINT
WITHIN = """
from stepsmith.train.run import ending

def work():
    exec("import os, signal\\nos.kill(os.getpid(), signal.SIGINT)\\nwhile True: pass")

ending.leave(ending.code_of(work, lambda kept: "begin anew"))
"""


def test_the_exit_code_is_130_wherever_the_interruption_fell(tmp_path):
    (tmp_path / "within.py").write_text(WITHIN)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-m", "within"], capture_output=True, text=True, env=env, cwd=tmp_path)
    assert done.returncode == 130 and done.stderr.splitlines()[0] == "stepsmith: interrupted", done


def test_a_reader_that_is_gone(tmp_path):
    """`stepsmith list laws | head -1`, and the same with standard output or error closed."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "stepsmith", "list", "laws"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, env=env)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")
    done = subprocess.run(["sh", "-c", f"{shlex.join(command)} >&-"], capture_output=True, text=True, env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_without_standard_error(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", None)

    def work():
        bar = progress.Progress("a", 2, "laws")
        bar.advance()
        bar.close()
        raise ValueError("bad")

    bar = progress.Progress("a", 2, "laws")  # in Python
    bar.advance()
    bar.close()
    assert ending.code_of(work, _nothing) == 2 and sys.stderr is None
    assert capsys.readouterr().out == ""


def test_what_goes_on_stands_before_the_end_of_options():
    assert ending.command(["stepsmith"], ["train", "--", "-a b.toml"], ["--resume"]) == (
        "stepsmith train --resume -- '-a b.toml'"
    )
    assert ending.command(["stepsmith"], ["train", "a", "--resume"], ["--resume"]) == "stepsmith train a --resume"
