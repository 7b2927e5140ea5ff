"""C around exported headers: what plays attempts to them, a solver of two equations, and ARKODE's order of calls."""

from __future__ import annotations

import ctypes
import subprocess

import numpy as np

from exported import controller
from stepsmith.controllers import export
from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.network import Learned
from stepsmith.integrators.core import record as rec

STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Wconversion", "-Wshadow", "-Wfloat-conversion"]
GCC = ["gcc", "-std=c99", "-O2", *STRICT]


def exotic(activation, squash="clip", frames=1, table=None):
    """A network that no file ships: other activations, several frames, a normaliser, a table of actions."""
    rng = np.random.default_rng(3)
    names = ("log_err", "log_err_1", "log_ratio_1", "streak")
    d = Decision(
        names, "pi34", n_act=2, shift=rng.normal(0, 0.3, 4), scale=rng.uniform(0.5, 2.0, 4), obs_clip=2.5
    )  # fmt: skip
    sizes = [4 * frames, 7, 5, 2 if table is None else len(table)]
    layers = [
        (rng.normal(0, 0.7, (b, a)), rng.normal(0, 0.3, b), activation if b != sizes[-1] else "linear")
        for a, b in zip(sizes[:-1], sizes[1:], strict=True)
    ]
    return Learned(d, layers, squash, table, name=f"{activation} {squash} {frames}", frames=frames)


TABLE = [[a, b] for a in (-1.0, -0.2, 0.0, 0.6) for b in (-1.0, 0.0, 1.0)]
EXOTIC = {
    "elu": exotic("elu"), "silu": exotic("silu", "tanh"), "gelu": exotic("gelu"), "gelu_tanh": exotic("gelu_tanh"),
    "leaky": exotic("leaky_relu(0.07)", "tanh", frames=3), "table": exotic("tanh", "argmax", 2, TABLE),
}  # fmt: skip


def get(name):
    """A controller of this file, or of `exported`."""
    return EXOTIC[name] if name in EXOTIC else controller(name)


def as_name(name):
    """What it is called in C."""
    return name.replace("-", "_")


def feeding(name, given):
    """C that plays rows of a record to the header of `name`."""
    c, known = as_name(name), dict(zip(rec.NAMES, range(rec.N_RECORD), strict=True))
    fill = "\n".join(f"        a.{slot} = r[{known[slot]}];" for slot in given)
    return f"""
void run_{c}(const double *rows, long n, long block, double *out);
void run_{c}(const double *rows, long n, long block, double *out)
{{
    {c}_state state;
    {c}_attempt a = {c}_blank();
    {c}_answer answer;
    long k;
    {c}_init(&state);
    for (k = 0; k < n; ++k) {{
        const double *r = rows + k * {rec.N_RECORD};
        if (k % block == 0) {c}_init(&state);
{fill}
        {c}_answer_to(&state, &a, &answer);
        out[4 * k] = answer.accept;
        out[4 * k + 1] = answer.log_factor;
        out[4 * k + 2] = answer.flags;
        out[4 * k + 3] = answer.fallback;
    }}
}}
double first_{c}(const double *r, double guess);
double first_{c}(const double *r, double guess)
{{
    {c}_attempt a = {c}_blank();
{fill.replace("        ", "    ")}
    return {c}_first(&a, guess);
}}
"""


def slots_of(text, c):
    """Names of the slots in a header's attempt."""
    body = text.split("typedef struct {")[2].split("}")[0]
    assert f"}} {c}_attempt;" in text
    return [line.split()[1].rstrip(";") for line in body.strip().splitlines()]


def library(folder, name):
    """The library of `name`.c in a folder, compiled without a warning."""
    call = [*GCC, "-ffp-contract=off", "-fPIC", "-shared", f"{name}.c", "-o", f"{name}.so", "-lm"]
    run = subprocess.run(call, cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[:3000]
    return ctypes.CDLL(str(folder / f"{name}.so"))


def compiled(tmp_path, one):
    """The library of one controller's header, which is called "own"."""
    text = export.c_header(one, "own")
    (tmp_path / "own.c").write_text(text + feeding("own", slots_of(text, "own")))
    return library(tmp_path, "own")


DOUBLES = ctypes.POINTER(ctypes.c_double)


def played(lib, name, rows, block):
    """The answers of a header to `rows`, anew after every `block`: (n, 4)."""
    rows, out = np.ascontiguousarray(rows), np.full((len(rows), 4), np.nan)
    fn = getattr(lib, f"run_{as_name(name)}")
    fn(
        rows.ctypes.data_as(DOUBLES), ctypes.c_long(len(rows)), ctypes.c_long(block), out.ctypes.data_as(DOUBLES)
    )  # fmt: skip
    return out
