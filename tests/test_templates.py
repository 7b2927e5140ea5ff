"""Kernel pieces that are written as Python functions: the text that a generated module gets, and the names that it
binds."""

from __future__ import annotations

import ast
import inspect

import pytest

from stepsmith.integrators.compile.cache import load_module
from stepsmith.integrators.core import contract, record
from stepsmith.integrators.kernels import build, glossary, layout, slots, templates
from stepsmith.integrators.kernels.environment import env, env_source, paper_env, rewards
from stepsmith.integrators.kernels.environment import slots as env_slots
from stepsmith.integrators.kernels.slots import inline, piece
from stepsmith.integrators.methods import tableaus

SIZES = {"W", "N", "M", "THRESHOLD", "WIDTH", "DIM", "NPAR", "NSTATE", "NREC", "NANS"}
STATUS = {"RUNNING", "SUCCESS", "IDLE", "MAX_STEPS", "UNDERFLOW", "NON_FINITE", "BAD_START"}


@inline
def doubled(A, l, more):
    """Twice the time."""
    return 2.0*A[slots.T + l] + more


# a comment above
@piece
def longer(
    A,
    l,
):
    return A[slots.H + l]


def bound(head: str) -> set[str]:
    """Names that source lines assign."""
    return {target.id for node in ast.parse(head).body if isinstance(node, ast.Assign) for target in node.targets}


def test_text_is_what_stands_in_the_file():
    text = templates.text(doubled, longer)
    assert text.startswith('@_inline\ndef doubled(A, l, more):\n    """Twice the time."""\n')
    assert text.endswith("\n\n\n")
    assert "# a comment above\n@_piece\ndef longer(\n    A,\n    l,\n):\n" in text
    with pytest.raises(KeyError):
        templates.text(lambda A: A)  # no function of a module's top


def test_every_stand_in_is_bound_by_a_kernel():
    lay = layout.block_layout(8, 3, 2, 3, 10, contract.N_OUT, 5)
    numbers = {name for name, value in vars(slots).items() if type(value) is int}
    given = bound(build.header(lay, 3, 2, 10)) | SIZES | STATUS
    rows = {name for name in numbers if glossary.entry(name) is not None}
    assert numbers <= given | rows
    assert {f"R_{name.upper()}" for name in record.NAMES} <= numbers
    assert {f"CO_{name.upper()}" for name in contract.ANSWER} <= numbers
    assert set(layout.SCALARS) <= numbers
    for name in ("inline", "traced", "piece", "entry"):
        assert name in templates.DECORATORS and getattr(slots, name)(doubled) is doubled
    with pytest.raises(TypeError, match="template"):
        slots.where(True, 1.0, 0.0)


def test_every_stand_in_of_an_environment_is_bound():
    numbers = {name for name, value in vars(env_slots).items() if type(value) in (int, float, bool)}
    rows = {name for name in numbers if glossary.entry(name) is not None}
    facts = {f"FACT_{name.upper()}" for name in rewards.FACTS}
    chosen = bound(env_source.constants((3, 6), True, False, False, tableaus.get("tsit5"), 2))
    lay = layout.block_layout(8, 3, 2, 3, 10, contract.N_OUT)
    chosen |= bound(rewards.rule("matched").constants(lay))
    paper = {"COUNTER", "FLOOR", "SMALLEST", "MOST_STEPS"}
    assert all(hasattr(paper_env, name) for name in paper - {"COUNTER"})
    assert numbers <= rows | facts | chosen | paper and facts <= numbers
    assert set(env.ROWS) | set(paper_env.ROWS) <= rows


def test_slots_lie_where_the_record_has_them():
    lay = layout.block_layout(8, 3, 2, 3, 10, contract.N_OUT)
    names: dict[str, int] = {}
    exec(lay.constants(), names)
    assert names["R_TAU_PRS"] == names["R"] + 8*record.TAU_PRS
    assert names["CO_FALLBACK"] == names["CO"] + 8*contract.FALLBACK
    assert [getattr(contract, name.upper()) for name in contract.ANSWER] == list(range(contract.N_OUT))


def test_a_branch_over_a_constant_is_left_out(tmp_cache):
    source = "OWN = False\nimport numba\n\n@numba.njit\ndef f(x):\n    if OWN:\n        x = no_such_function(x)\n"
    source += "    return x + (0.0 if not OWN else missing(x))\n"
    assert load_module(source, {}).f(1.5) == 1.5


def test_constants_and_numbered_places():
    assert templates.constants(OWN=False, N_OBS=3) == "OWN = False\nN_OBS = 3\n"
    assert list(templates.numbered(record.__name__, "NEWTON_").items()) == [("NEWTON_ITERS", 8), ("NEWTON_RATE", 9)]
    assert templates.places(record.__name__, "NEWTON_") == ("iters", "rate")


def test_wide_vectors_are_asked_for_below_the_docstring():
    lay = layout.block_layout(8, 3, 2, 3, 10, contract.N_OUT)
    source = '@_inline\ndef f(A,\n      l):\n    """What it does."""\n    return A[R + l*NSTATE]\n'
    wide = build.substitute(source, lay, 3, 2, 10, True)
    assert wide.splitlines()[3:] == ['    """What it does."""', "    wide_vectors()", "    return A[R + l*10]"]
    assert "wide_vectors" not in build.substitute(source, lay, 3, 2, 10, False)
    assert inspect.getdoc(slots.inline)
