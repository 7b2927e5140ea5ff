"""The pages show what benchmarks/results holds, and every stored table names a command that can be run.  Nothing is
measured here."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import os
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
import typer
from figures import cells, report, save, store, views
from figures.cells import Number
from figures.wrap import wrapped

import stepsmith
from stepsmith.controllers.laws.table import LAWS
from stepsmith.integrators import problems
from stepsmith.train.cli.program import app

ROOT = Path(__file__).parents[1]
_spec = importlib.util.spec_from_file_location("benchmark_pages", ROOT / "benchmarks" / "pages.py")
assert _spec is not None and _spec.loader is not None
pages = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(pages)

COMMANDS = sorted(
    {
        command
        for name in store.names()
        for given in [store.load(name)["command"]]
        for command in ([given] if isinstance(given, str) else given)
    }
)


class Parsed(Exception):
    """Raised in the place of what a script does with its arguments."""


@pytest.mark.parametrize("page", list(pages.pages()), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_page_shows_what_is_stored(page):
    text = page.read_text(encoding="utf-8")
    assert pages.rendered(text) == text, "make pages writes the page anew"


@pytest.mark.parametrize("name", store.names())
def test_a_stored_table_is_complete_and_stands_on_a_page(name):
    table = store.load(name)  # its fields are checked there
    assert (store.RESULTS / f"{name}.json").read_text(encoding="utf-8") == store.dumped(table)
    for figure in table.get("figures", {}):
        assert store.figure(table, figure)
    shown = "".join(page.read_text(encoding="utf-8") for page in pages.pages())
    assert f"<!-- table {name} -->" in shown or f"<!-- figure {name}." in shown
    assert re.fullmatch(r"\d{4}-\d\d-\d\d|transcribed from the page of \d{4}-\d\d-\d\d", table["measured"])
    assert not re.search(r"(?<![\w.])/(?:home|work|tmp|root)\b", (store.RESULTS / f"{name}.json").read_text())


def options_parse(script: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a script parse its arguments, and end it there."""
    parse = argparse.ArgumentParser.parse_args

    def only_parse(self, *given):
        parse(self, *given)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", only_parse)
    monkeypatch.setattr(sys, "argv", [str(script), *arguments])
    monkeypatch.syspath_prepend(script.parent)
    before = dict(os.environ)
    try:
        with pytest.raises(Parsed):
            runpy.run_path(str(script), run_name="__main__")
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_of_a_table_exists_and_its_options_parse(command, monkeypatch):
    program, *arguments = shlex.split(command)
    if program == "python":
        script = ROOT / arguments[0]
        assert script.is_file()
        try:
            options_parse(script, arguments[1:], monkeypatch)
        except ModuleNotFoundError as missing:
            pytest.skip(f"{arguments[0]} needs {missing.name}")
        return
    assert program == "stepsmith"
    parse = typer.main.get_command(app)
    while arguments and getattr(parse, "commands", None):
        assert arguments[0] in parse.commands
        parse = parse.commands[arguments.pop(0)]
    parse.make_parser(parse.context_class(parse)).parse_args(arguments)


@pytest.mark.parametrize(
    "command",
    ["python benchmarks/hosts.py --nosuch", "python benchmarks/hosts.py --family nosuch"],
)
def test_a_command_that_does_not_parse_is_seen(command, monkeypatch, capsys):
    _, script, *arguments = shlex.split(command)
    with pytest.raises(SystemExit):
        options_parse(ROOT / script, arguments, monkeypatch)
    assert "nosuch" in capsys.readouterr().err


def test_an_option_that_stepsmith_does_not_have_is_seen():
    compare = typer.main.get_command(app).commands["compare"]
    with pytest.raises(Exception, match="nosuch"):
        compare.make_parser(compare.context_class(compare)).parse_args(["lorenz", "--nosuch"])


@pytest.mark.parametrize(
    ("text", "cell", "shown"),
    [
        (".90 [.88, .92]", ["0.90", "0.88", "0.92"], ".90 [.88, .92]"),
        ("0.897", "0.897", ".897"),
        ("1.10", "1.10", "1.10"),
        ("0.0 %", {"value": "0.0", "after": " %"}, "0.0 %"),
        ("+0.55 [-0.22, +1.40] %", None, "+.55 [-.22, +1.40] %"),
        (".61 (.57...69)", None, ".61 (.57...69)"),
        (".996 (.932..1.042)", None, ".996 (.932..1.042)"),
        ("2.37 (2.36-2.37)", None, "2.37 (2.36-2.37)"),
        ("1.27 (.67)", {"value": "1.27", "aside": "0.67"}, "1.27 (.67)"),
        ("0.781 [0.732, 0.823] i", None, ".781 [.732, .823] i"),
        ("1e-05", "1e-05", "1e-05"),
        ("tsit5", "tsit5", "tsit5"),
        ("30 : 8.7 : 1.7", "30 : 8.7 : 1.7", "30 : 8.7 : 1.7"),
        ("", None, ""),
    ],
)
def test_cells_are_read_and_shown(text, cell, shown):
    found = cells.parsed(text)
    assert cell is None or found == cell
    assert cells.shown(found) == shown
    assert cells.shown(cells.parsed(shown)) == shown


@pytest.mark.parametrize(("text", "digits", "shown"), [("0.885", 2, ".89"), ("0.9951", 2, "1.00"), ("-0.04", 1, "0.0")])
def test_numbers_are_rounded_half_up(text, digits, shown):
    assert cells.number(Number(text), digits) == shown


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A store of its own, with one table."""
    monkeypatch.setattr(store, "RESULTS", tmp_path)
    monkeypatch.setattr(store.load, "__defaults__", (tmp_path,))
    table = {
        "title": "a table", "command": "python benchmarks/hosts.py", "measured": "2026-01-01",
        "stepsmith": {"version": "0", "commit": "abc"}, "machine": "one core", "other_jobs": None,
        "columns": [{"key": "law", "title": "law"}, {"key": "work", "title": "work", "digits": 2}],
        "rows": [
            {"law": "a", "work": [Number("0.8971"), Number("0.877"), Number("0.918")]},
            {"law": "b", "work": Number("1.427"), "hidden": True},
        ],
        "figures": {
            "a": {"row": "a", "column": "work", "digits": 1},
            "saved": {"row": "a", "column": "work", "as": "percent_below"},
            "ratio": {"row": "a", "column": "work", "over": {"row": "b", "column": "work"}, "digits": 3},
        },
    }  # fmt: skip
    store.write("mine", table)
    return tmp_path


def test_markers_are_filled_and_filled_again_to_the_same(results):
    text = (
        "Takes <!-- figure mine.a -->?<!-- end --> of it, "
        "<!-- figure mine.saved -->?<!-- end --> % less, <!-- figure mine.ratio -->?<!-- end -->.\n\n"
        "<!-- table mine -->\nold\n<!-- end -->\n\nIn code: `<!-- figure no.such -->x<!-- end -->`\n"
    )
    once = pages.rendered(text)
    assert pages.MARKER.sub("", once) == (
        "Takes .9 [.9, .9] of it, 10 % less, .629.\n\n\n\n| law | work |\n|---|---|\n| a | .90 [.88, .92] |\n\n\n\n"
        "In code: `x`\n"
    )
    assert pages.rendered(once) == once


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("<!-- table nosuch -->\n<!-- end -->\n", "nosuch"),
        ("It is <!-- figure mine.nosuch -->1<!-- end -->\n", "nosuch"),
        ("It is <!-- figure mine -->1<!-- end -->\n", "NAME.figure"),
        ("It is <!-- figure mine.a -->1\n", "without a partner"),
        ("It is <!-- figure mine.a -->1 <!-- figure mine.a -->2<!-- end -->\n", "no end"),
        ("It is <!--figure mine.a-->1<!-- end -->\n", "without a partner"),
        ("<!-- figure mine.a -->1<!-- end --> is it\n", "begins with a marker"),
        ("- <!-- figure mine.a -->1<!-- end --> is it\n", "begins with a marker"),
    ],
)
def test_what_is_unknown_or_misplaced_is_refused(results, text, word):
    with pytest.raises(ValueError, match=word):
        pages.rendered(text)


@pytest.mark.parametrize("field", [*store.FIELDS, "stepsmith.commit"])
def test_a_missing_field_is_refused(results, field):
    table = store.load("mine")
    first, _, second = field.partition(".")
    del (table[first] if second else table)[second or first]
    with pytest.raises(ValueError, match=second or first):
        store.check("mine", table)


def test_a_line_is_wrapped_at_what_is_shown_and_does_not_begin_with_a_marker():
    marked = "<!-- figure mine.a -->.90 [.88, .92]<!-- end -->"
    text = "- " + "word " * 22 + f"takes {marked} and\n  " + "more " * 30 + "\n\n| " + "cell " * 40 + f"{marked} |\n"
    first, rest = wrapped(text).split("\n\n")
    lines = first.splitlines()
    assert lines[1].startswith(f"  takes {marked}")
    assert all(len(pages.MARKER.sub("", line)) <= 120 for line in lines)
    assert first.split() == text.split("\n\n")[0].split() and rest == text.split("\n\n")[1]


def test_printed_tables_are_stored(results, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(ROOT / "benchmarks" / "hosts.py"), "--save", "mine,-", "scipy", "--n", "8"])
    printed = "law is\n| work | law |\n|---|---|\n| 0.8 [0.7, 0.9] | a |\n\n| x |\n|---|\n| 1 |\n"
    save.stored(printed, ["mine", "-"], True)
    table = store.load("mine")
    assert table["rows"] == [{"law": "a", "work": ["0.8", "0.7", "0.9"]}]
    assert table["command"] == "python benchmarks/hosts.py scipy --n 8" and table["other_jobs"] is True
    assert table["title"] == "a table" and "ratio" in table["figures"]
    assert table["stepsmith"]["version"] == stepsmith.__version__
    table["columns"][0] |= {"printed": Number("1"), "labels": {"c": "see"}}
    table["columns"][1]["printed"] = Number("0")
    store.write("mine", table)
    save.stored("| x | x | rest |\n|---|---|---|\n| 2 | c | - |\n| 3 | a | - |\n", ["mine+"], None)
    table = store.load("mine")
    assert table["rows"] == [{"law": "a", "work": "3"}, {"law": "see", "work": "2"}]
    assert store.markdown(table).splitlines()[2:] == ["| a | 3.00 |", "| see | 2.00 |"]
    del table["columns"][0]["printed"], table["columns"][1]["printed"]
    store.write("mine", table)
    for text, word in ((printed, "2 tables"), ("| law | time |\n|---|---|\n| a | 1 |\n", "time")):
        with pytest.raises(ValueError, match=word):
            save.stored(text, ["mine"], None)


def test_views_need_nothing_but_the_store():
    for name in views.VIEWS:
        table = pages.table(name)
        assert len({line.count("|") for line in table.splitlines()}) == 1
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert pages.main(["--check"]) == 0
    assert "up to date" in out.getvalue()


def test_a_report_of_compare_is_stored(results, tmp_path):
    ratio = {"ratio": 0.9, "low": 0.85, "high": 0.95}
    rows = [{"name": "a", "nfev": ratio}, {"name": "c", "nfev": ratio}, {"name": "b", "nfev": {**ratio, "ratio": 2.0}}]
    file = tmp_path / "report.txt"
    file.write_text(json.dumps({"commit": "def", "rows": rows}), encoding="utf-8")
    with pytest.raises(ValueError, match="from"):
        report.stored("mine", file, "stepsmith compare lorenz", None)
    table = store.load("mine")
    for column, place in zip(table["columns"], ("name", "nfev"), strict=True):
        column["from"] = place
    store.write("mine", table)
    report.stored("mine", file, "stepsmith compare lorenz", False)
    table = store.load("mine")
    assert [row["law"] for row in table["rows"]] == ["a", "b"] and table["rows"][1]["hidden"]
    assert table["rows"][0]["work"] == ["0.900", "0.850", "0.950"] and table["stepsmith"]["commit"] == "def"
    assert store.figure(table, "ratio") == ".450"
    with pytest.raises(ValueError, match="nosuch"):
        report.cell(rows[0], "nosuch")


def test_the_readme_counts_what_is_there():
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    found = re.search(r"(\d+) families ship.*problems and families \((\d+),.*: (\d+) laws with their own", text)
    assert found is not None
    assert [int(count) for count in found.groups()] == [len(problems.names()), len(problems.names()), len(LAWS)]
