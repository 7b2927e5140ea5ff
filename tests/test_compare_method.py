"""`compare` runs a learned controller under the method it was trained with, and says where it does not."""

from __future__ import annotations

import pytest

from stepsmith.train.evaluate import compare, contestants, suite_compare


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["stiff"], "esdirk43"),
        ("stiff", "esdirk43"),
        (["stiff", "pi34"], "esdirk43"),
        ([["stiff", "stiff-tier1"]], "esdirk43"),
        ({"mine": "e5"}, "rodas5p"),
        (["stiff", "e5"], None),  # two methods: the family's own
        (["pi34"], None),
        (["universal"], None),  # it was trained with several
        ([], None),
        (None, None),
    ],
)
def test_the_method_of_what_the_caller_gave(given, found):
    assert contestants.method_of(given, "rober", "rodas5p") == found


def test_compare_takes_the_files_method_where_none_is_named(monkeypatch):
    drawn = []

    class Drawn(Exception):
        pass

    def draw(family, method, *more):
        drawn.append(method)
        raise Drawn

    monkeypatch.setattr(compare, "draw", draw)
    for method, controllers, expected in (
        (None, ["stiff"], "esdirk43"), ("rodas5p", ["stiff"], "rodas5p"), (None, ["pi34"], "rodas5p"),
        (None, ["stiff", "e5"], "rodas5p"),
    ):  # fmt: skip
        with pytest.raises(Drawn):
            compare.compare("rober", method, controllers, n=4, n_validation=4, progress=False)
        assert drawn[-1] == expected


def test_a_suite_takes_the_files_method_too(monkeypatch):
    seen = []

    class Seen(Exception):
        pass

    def find(name, method):
        seen.append(method)
        raise Seen

    monkeypatch.setattr(suite_compare.tuned_files, "find", find)
    with pytest.raises(Seen):
        suite_compare.compare_suite("steppo", "stiff", n=4, n_validation=4, progress=False)
    assert seen == ["esdirk43"]


def test_what_is_said():
    stiff = contestants.guests(["stiff", "pi34"], "rober", "rodas5p", ())
    (said,) = contestants.method_notes(stiff, "rodas5p", "rodas5p", True)
    assert "stiff was trained with esdirk43" in said and "--method esdirk43" in said
    (said,) = contestants.method_notes(stiff, "esdirk43", "rodas5p", False)
    assert said == "method esdirk43: what stiff was trained with (here it would be rodas5p)"
    assert contestants.method_notes(stiff, "esdirk43", "rodas5p", True) == []
    assert contestants.method_notes(contestants.guests(["pi34"], "rober", "rodas5p", ()), "rodas5p", "x", False) == []
