"""A C header whose slots were left unset says so, by name, and decides nothing."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from exported_c import GCC, as_name, get, slots_of
from stepsmith.controllers import export
from stepsmith.integrators.core import record as rec

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler")

PROGRAM = """
#include <stdio.h>
#include "one.h"
static void ask(const char *left_out, @_state *state, @_attempt attempt)
{
    double factor = 7.0;
    const double before = state->s[0];
    int code = @_decide(state, &attempt, &factor);
    const char *what = @_missing(&attempt);
    printf("%s %d %s %d %d\\n", left_out, code, what ? what : "-", factor == factor, before == state->s[0]);
}
int main(void)
{
    @_state state;
    @_attempt whole = @_blank(), one;
    @_init(&state);
    ask("everything", &state, whole);
    FILL
    ask("nothing", &state, whole);
    CASES
    return 0;
}
"""


@pytest.mark.parametrize("name", ["pi34", "three-body", "lorenz96", "aarseth", "scipy_radau", "table"])
def test_a_slot_that_was_not_set(tmp_path, name):
    c = as_name(name)
    text = export.c_header(get(name), c)
    slots = slots_of(text, c)
    values = {"truncated": 0.0, "finite": 1.0, "order": 5.0, "err": 0.5}
    fill = "".join(f"whole.{slot} = {values.get(slot, 0.25)};" for slot in slots)
    cases = "".join(f'one = whole; one.{slot} = NAN; ask("{slot}", &state, one);' for slot in slots)
    lost = "one = whole; one.finite = 0.0;"
    lost += "".join(f"one.{slot} = NAN;" for slot in slots if slot in ("err", "hs", "curv", "ynorm", "enorm"))
    cases += lost + 'ask("lost", &state, one);' if "finite" in slots else ""
    (tmp_path / "one.h").write_text(text)
    (tmp_path / "a.c").write_text(PROGRAM.replace("FILL", fill).replace("CASES", cases).replace("@", c))
    run = subprocess.run([*GCC, "a.c", "-o", "a", "-lm"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[:2000]
    said = subprocess.run(["./a"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    found = {line.split()[0]: line.split()[1:] for line in said.splitlines()}
    assert found["everything"][0] == "-1" and found["everything"][1] in slots
    own = "0" if name == "table" else "1"  # whose network rejects an error of a half
    assert found["nothing"][:2] == [own, "-"]
    free = {"err", "newton_iters", "newton_rate", "jac_age", "lu_age", "lu_shift"} & set(slots)
    for slot in set(slots) - free:
        assert found[slot] == ["-1", slot, "0", "1"]
    for slot in free:
        assert found[slot][:2] == ["0" if slot == "err" else own, "-"]
    if "lost" in found:
        assert found["lost"][:3] == ["0", "-", "1"]
    assert set(slots) <= set(rec.NAMES)
