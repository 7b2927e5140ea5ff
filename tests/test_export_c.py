"""Controllers as C: the header compiles without a warning and decides as the package does."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import threading

import numpy as np
import pytest

from exported import BLOCK, IN_ORDER, NAMES, RECORDED, answers, controller, drawn, recorded, ulps
from exported_c import DOUBLES, EXOTIC, as_name, feeding, get, library, played, slots_of
from stepsmith.controllers import export
from stepsmith.integrators.core.contract import LOG_FACTOR
from stepsmith.integrators.core.errors import OptionError
from stepsmith.integrators.core.namespaces import ROWS
from stepsmith.integrators.core.runner import Runner

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A library of every header, the headers' texts, and the folder of both: one call of the compiler."""
    folder = tmp_path_factory.mktemp("c")
    texts = {name: export.c_header(get(name), as_name(name)) for name in (*NAMES, *EXOTIC)}
    source = []
    for name, text in texts.items():
        (folder / f"{as_name(name)}.h").write_text(text)
        source.append(f'#include "{as_name(name)}.h"\n' + feeding(name, slots_of(text, as_name(name))))
    (folder / "all.c").write_text("".join(source))
    return library(folder, "all"), texts, folder


@pytest.mark.parametrize("name", [*NAMES, *EXOTIC])
def test_c_decides_as_the_package_does(built, name):
    rows = drawn(2000, sum(map(ord, name)))
    wanted, found = answers(get(name), rows), played(built[0], name, rows, BLOCK)
    assert np.array_equal(found[:, [0, 2, 3]], wanted[:, [0, 2, 3]])
    hidden = len(getattr(get(name), "shapes", ())) > 1
    if hidden:  # sums in another order: BLAS's
        assert ulps(found[:, 1], wanted[:, 1]) <= 100.0
        wanted = answers(get(name), rows, xp=IN_ORDER)
        assert np.array_equal(found[:, [0, 2, 3]], wanted[:, [0, 2, 3]])
    assert ulps(found[:, 1], wanted[:, 1]) <= (16.0 if name in EXOTIC else 4.0)  # measured: laws 0, the zoo 2
    assert name == "constant_step" or 0.05 < wanted[:, 0].mean() < 0.95  # both answers are there
    assert np.isfinite(wanted[:, 1]).mean() > 0.8


@pytest.mark.parametrize("name", list(RECORDED))
def test_c_decides_as_the_compiled_engine_did(built, name):
    log = recorded(name)
    found = played(built[0], name, log.records, 10**9)
    assert len(log.accept) > 20 and np.array_equal(found[:, 0], log.accept)
    np.testing.assert_allclose(found[:, 1], log.log_factor, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("name", ["pi34", "amuse", "aarseth", "ias15", "constant_step", "three-body"])
def test_first_size(built, name):
    fn = getattr(built[0], f"first_{as_name(name)}")
    fn.restype = ctypes.c_double
    for row in drawn(50, 7):
        found = fn(np.ascontiguousarray(row).ctypes.data_as(DOUBLES), ctypes.c_double(0.125))
        one = get(name)
        size = np.nan
        if one.first is not None:
            with np.errstate(all="ignore"):
                size = float(Runner(one, 1)._first(list(one.params), [0.0] * one.n_state, list(row)))
        assert found == (size if size > 0.0 else 0.125)


def test_cpp_takes_it_and_fast_math_is_refused(built):
    folder = built[2]
    if shutil.which("g++"):
        call = ["g++", "-x", "c++", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "all.c"]
        run = subprocess.run(call, cwd=folder, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr[:2000]
    run = subprocess.run(["gcc", "-ffast-math", "-fsyntax-only", "pi34.h"], cwd=folder, capture_output=True, text=True)
    assert run.returncode != 0 and "-ffast-math" in run.stderr


def test_a_header_includes_math_alone_and_threads_share_it(built):
    for text in built[1].values():
        before = text.split("#ifdef STEPSMITH_ARKODE")[0]
        assert [line for line in before.splitlines() if line.startswith("#include")] == ["#include <math.h>"]
        assert text.isascii()
    rows = drawn(4000, 11)
    wanted = played(built[0], "three-body", rows, BLOCK)
    found = [None] * 4

    def play(i):
        found[i] = played(built[0], "three-body", rows, BLOCK)  # ctypes lets other threads run meanwhile

    threads = [threading.Thread(target=play, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(one, wanted, equal_nan=True) for one in found)


def test_the_tolerance_scale_and_the_provenance_are_in_it(built):
    e5 = built[1]["e5"]
    assert f"#define E5_TOLERANCE_SCALE {controller('e5').tolerance_scale!r}" in e5
    assert "method: rodas5p" in e5 and "provenance, seed: 2" in e5 and "provenance, commit: 47847b65" in e5
    hostile = EXOTIC["elu"].replace(name="*/ int x; /* \\ ??/", family="é\n#error", provenance={"a": "*/ #error\n*/"})
    text = export.c_header(hostile)
    assert text.isascii() and text.count("/*") == text.count("*/") and "\n#error\n" not in text
    with pytest.raises(OptionError, match="name must be an identifier"):
        export.c_header(controller("i"), "no-name")


def test_many_lanes_decide_as_one():
    """What C is compared with is the runner of one lane; that of many differs by NumPy's own logarithms at most."""
    rows = drawn(BLOCK, 4)
    runner = Runner(controller("h211b"), 3, ROWS)
    many = np.array([[a.copy() for a in runner.decide([np.full(3, x) for x in row])][LOG_FACTOR] for row in rows])
    assert ulps(many, np.repeat(answers("h211b", rows)[:, 1:2], 3, axis=1)) <= 4.0
