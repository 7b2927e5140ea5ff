"""The generated module as a person reads it, and the glossary of its rows."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import stepsmith as ss
from stepsmith.integrators.engine.shown import kernel_text
from stepsmith.integrators.kernels import glossary, layout
from stepsmith.integrators.kernels.environment import env, propagate, rewards
from stepsmith.integrators.methods import tableaus
from stepsmith.train.cli import app

ROOT = Path(__file__).parents[1]
CASES = [("lorenz", "dopri5", "pi34", False), ("lorenz", "tsit5", "three-body", True), ("rober", "rodas5p", "predictive", False),
         ("hires", "radau5", "h211b", True), ("three_body", "hermite4", "amuse", False)]  # fmt: skip


def test_every_row_has_an_entry():
    lay = layout.block_layout(8, 3, 2, 7, 10, 4, 5)
    propagate.add_rows(lay, tableaus.get("tsit5"), 3, 2)
    for row in (*lay.rows, *env.ROWS, *rewards.rows()):
        assert glossary.entry(row) is not None, row
    assert glossary.markdown() in (ROOT / "docs" / "kernels.md").read_text()
    assert all(len(cells) == 4 and all(cells) for cells in glossary.ROWS.values())


@pytest.mark.parametrize("family, method, controller, lanes", CASES)
def test_a_module_parses_lints_and_is_explained(family, method, controller, lanes, tmp_path):
    text = kernel_text(ss.problems.make(family), method, ss.controller(controller), lanes)
    tree = ast.parse(text)
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert {"attempt", "begin", "decide", "commit", "load", "run" if lanes else "run_single"} <= names
    for row in ("T ", "HS ", "R ", "CS ", "Y "):
        assert f"#   {row}" in text
    assert "state at the end of the attempt [y]" in text
    (tmp_path / "kernel.py").write_text(text)
    # syntax, undefined names, comparisons that do not do what they seem to
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "E9,F63,F7,F82,PLW0128", str(tmp_path / "kernel.py")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_the_command():
    done = CliRunner().invoke(app, ["kernel", "lotka_volterra", "--method", "bs32", "-c", "i"])
    assert done.exit_code == 0 and "lotka_volterra, bs32, i: a single solve" in done.output.splitlines()[0]
    assert "def run_single(" in done.output
    assert CliRunner().invoke(app, ["kernel", "nosuch"]).exit_code != 0
