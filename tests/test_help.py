"""Help and tables of the command line at 80 and 100 columns: nothing is cut off, swallowed or wider."""

import re
import sys

import pytest
import typer

from stepsmith.train.cli import app, program, show
from stepsmith.train.cli.arguments import PLAIN


def commands(group=None, before=()):
    for name, command in (group or typer.main.get_command(app)).commands.items():
        if hasattr(command, "commands"):
            yield (*before, name), command
            yield from commands(command, (*before, name))
        else:
            yield (*before, name), command


COMMANDS = [((), typer.main.get_command(app)), *commands()]


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("name, command", COMMANDS, ids=[" ".join(name) or "stepsmith" for name, _ in COMMANDS])
def test_help_is_whole(name, command, width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    with pytest.raises(SystemExit) as stop:
        program.main([*name, "--help"])
    said = capsys.readouterr().out
    assert stop.value.code == 0 and max(map(len, said.splitlines())) <= width and "…" not in said
    # the text of every argument, option and command stands there to the last character, but for line breaks
    flat = re.sub(r"\s+", "", said)
    texts = [p.help for p in command.params if p.help]
    texts += [c.get_short_help_str(400) for c in getattr(command, "commands", {}).values()]
    for text in texts:
        assert re.sub(r"\s+", "", text) in flat
    assert "\\[" not in said


def test_a_group_alone_is_its_help(capsys):
    with pytest.raises(SystemExit) as stop:
        program.main(["bench"])
    out, err = capsys.readouterr()
    assert stop.value.code == 0 and "evaluate" in out and err == ""


def test_brackets_stand_in_the_help(capsys):
    for command, said in (("train", "[train]"), ("train", "[task]"), ("sweep", "[sweep]")):
        with pytest.raises(SystemExit):
            program.main([command, "--help"])
        assert said in capsys.readouterr().out
    assert PLAIN["rich_markup_mode"] is None


class Terminal:
    """Standard output that says it is a terminal."""

    def __init__(self, out):
        self.out = out
        self.encoding = "utf-8"

    def __getattr__(self, name):
        return getattr(self.out, name)

    def isatty(self):
        return True


COLUMNS = ("name", "[a]", "long", "b")
ROWS = [("one [bold]", "1", "x" * 60, "y " * 30), ("two", ":smile:", "", "")]


def test_a_table_leaves_columns_out_and_says_which(capsys):
    show.table("a [title]", COLUMNS, ROWS, more=("long", "b"))
    said = capsys.readouterr().out
    assert "a [title]\n" in said and "[a]" in said and "one [bold]" in said and ":smile:" in said
    assert "left out, --wide shows them: b\n" in said and max(map(len, said.splitlines())) <= show.FIT
    show.table("a [title]", COLUMNS, ROWS, wide=True, more=("long", "b"))
    said = capsys.readouterr().out
    assert "left out" not in said and "y y" in said and len(said.splitlines()) == 4  # nothing wrapped
    show.table("fits", COLUMNS[:2], [row[:2] for row in ROWS], more=("[a]",))
    assert "left out" not in capsys.readouterr().out


def test_a_pipe_gets_whole_lines_and_a_terminal_its_width(capsys, monkeypatch):
    long = "word " * 60
    show.table("t", ("name", "doc"), [("one", long)])
    show.say(long)
    show.lines(f"name         {long}")
    assert [len(line.rstrip()) for line in capsys.readouterr().out.splitlines()] == [1, 9, 305, 299, 312]
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys, "stdout", Terminal(sys.stdout))
    show.table("t", ("name", "doc"), [("one", long)])
    show.say(long)
    show.lines(f"name         {long}")
    said = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in capsys.readouterr().out.splitlines()]
    assert len(said) > 10 and max(map(len, said)) <= 100 and said[-1].startswith(" " * 17 + "word")
