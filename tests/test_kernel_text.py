"""The generated module as a person reads it, and the glossary of its rows."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import stepsmith as ss
from stepsmith.controllers.learned.decision import Decision
from stepsmith.integrators import methods
from stepsmith.integrators.engine.shown import kernel_text, text
from stepsmith.integrators.engine.solve import slots_of
from stepsmith.integrators.kernels import glossary, layout, templates
from stepsmith.integrators.kernels.environment import (
    env,
    paper_env,
    paper_places,
    pay,
    places,
    propagate,
    rewards,
    series,
    series_rows,
)
from stepsmith.integrators.kernels.environment import glossary as arrays
from stepsmith.integrators.methods import tableaus
from stepsmith.train.cli import app

ROOT = Path(__file__).parents[1]
CASES = [("lorenz", "dopri5", "pi34", False), ("lorenz", "tsit5", "three-body", True),
         ("rober", "rodas5p", "predictive", False), ("hires", "radau5", "h211b", True),
         ("three_body", "hermite4", "amuse", False)]  # fmt: skip


def test_every_row_has_an_entry():
    lay = layout.block_layout(8, 3, 2, 7, 10, 4, 5)
    propagate.add_rows(lay, tableaus.get("tsit5"), 3, 2)
    series_rows.add_rows(lay, 3)
    for row in (*lay.rows, *env.ROWS, *paper_env.ROWS, *rewards.rows()):
        assert glossary.entry(row) is not None, row
    assert glossary.markdown() in (ROOT / "docs" / "kernels.md").read_text()
    assert all(len(cells) == 4 and all(cells) for cells in glossary.ROWS.values())


def test_every_place_in_an_array_has_an_entry():
    for module, tables in ((places, arrays.ARRAYS), (paper_places, arrays.PAPER_ARRAYS)):
        named = [list(names) for names in tables.values()]
        of_module = templates.numbered(module.__name__)
        assert sorted(sum(named, [])) == sorted(of_module)
        for names in named:
            assert [of_module[name] for name in names] == list(range(len(names)))
        assert arrays.markdown(tables) in (ROOT / "docs" / "kernels.md").read_text()


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
    lint(tmp_path / "kernel.py")


def lint(file: Path) -> None:
    """Syntax, undefined names, comparisons that do not do what they seem to."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "E9,F63,F7,F82,PLW0128", str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def env_text(rule: rewards.RewardRule, family: str = "lorenz", method: str = "dopri5") -> str:
    """The module of an environment, generated and imported, not compiled."""
    batch, meth = ss.problems.family(family).draw(1, 0), methods.get(method)
    decision = Decision(law="pi34")
    parts = meth.parts(batch, slots_of(decision))
    invariant = batch.invariants.get("energy")
    error = "final" if invariant is None else "energy"
    made = env.env_kernel(
        parts, batch.n, batch.m, decision, 4, error, (0, 2), rule, invariant, meth.tableau, floor=1e-3
    )
    return text(made, f"{family}, {rule.name}")


def nothing(facts):
    return 0.0


@pytest.mark.parametrize("name", [*rewards.RULES, "own"])
def test_the_module_of_an_environment_holds_its_reward_alone(name, tmp_path):
    own = replace(rewards.rule("constraint"), attempt=pay.attempt_own, ended=pay.end_own, step=nothing, end=nothing)
    rule = own if name == "own" else rewards.rule(name)
    source = env_text(rule)
    defined = {node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
    rewarding = {f.removeprefix("attempt_") for f in defined if f.startswith("attempt_") and hasattr(pay, f)}
    assert rewarding == {name} and {"env_reset", "env_step", "emit", "restart"} <= defined
    assert ("propagate" in defined) == (name == "propagated") and ("own_lane" in defined) == (name == "own")
    assert f"#   {'FACT' if name == 'own' else 'ERRMAX'}" in source
    # what a constant of the module leaves out may name what is not there
    in_series = {name for name, piece in vars(series).items() if getattr(piece, "__module__", "") == series.__name__}
    left_out = ({"own_lane", "see_attempt", "propagate", "forget", "invariant"} | in_series) - defined
    (tmp_path / "kernel.py").write_text(source + "".join(f"{each} = None\n" for each in left_out))
    lint(tmp_path / "kernel.py")


def test_the_module_of_an_environment_with_linear_algebra_and_an_energy(tmp_path):
    for family, method in (("rober", "rodas5p"), ("kepler", "tsit5")):
        source = env_text(rewards.rule("matched"), family, method)
        assert f"IMPLICIT = {method == 'rodas5p'}\n" in source and f"ENERGY = {family == 'kepler'}\n" in source


def test_the_command():
    done = CliRunner().invoke(app, ["kernel", "lotka_volterra", "--method", "bs32", "-c", "i"])
    assert done.exit_code == 0 and "lotka_volterra, bs32, i: a single solve" in done.output.splitlines()[0]
    assert "def run_single(" in done.output
    assert CliRunner().invoke(app, ["kernel", "nosuch"]).exit_code != 0
