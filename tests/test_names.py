"""The error for an unknown name: what it suggests and what it says."""

import pytest

from stepsmith.integrators import methods
from stepsmith.integrators.core.names import nearest, unknown

METHODS = methods.names()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("dorpi5", "dopri5"), ("TSIT5", "tsit5"), ("tsit", "tsit5"), ("leap-frog", "leapfrog")],
)
def test_typing_mistakes_are_recognised(typed: str, meant: str) -> None:
    assert nearest(typed, METHODS) == meant


def test_hyphen_and_underscore_are_the_same_letter() -> None:
    assert nearest("three-body", ["lorenz", "three_body"]) == "three_body"


def test_nothing_is_suggested_where_nothing_resembles() -> None:
    assert nearest("qqqq", METHODS) == ""
    assert "did you mean" not in str(unknown("method", "qqqq", METHODS))


def test_message_names_kind_name_suggestion_and_all_options() -> None:
    error = unknown("method", "dorpi5", METHODS)
    assert isinstance(error, ValueError)
    assert str(error) == f"unknown method 'dorpi5': did you mean 'dopri5'? known: {', '.join(sorted(METHODS))}"


def test_options_may_be_any_iterable_and_may_be_empty() -> None:
    assert "did you mean 'b1'?" in str(unknown("law", "b2", (k for k in ("b1", "zz"))))
    assert str(unknown("law", "i", [])) == "unknown law 'i': known: none"


def test_a_name_that_is_no_string_is_shown_as_it_is() -> None:
    assert str(unknown("law", None, ["i"])) == "unknown law None: known: i"
