"""Whole solves in other people's solvers under a controller of ours, and the attempts that they made.

Hosts are looked at from outside: the times at which they evaluate the right-hand side show the attempts of a
Dormand-Prince pair, and which of them were accepted.  Right-hand sides are those of the problems' families, bound to
the host's arrays.
"""

from __future__ import annotations

import ctypes
import functools
import tempfile
from pathlib import Path

import numpy as np

import stepsmith as ss
from stepsmith import testing
from stepsmith.controllers import export
from stepsmith.integrators.core import record as rec
from stepsmith.integrators.core.binding import bind
from stepsmith.integrators.core.namespaces import NUMPY, jax_namespace, torch_namespace

#: what the numbers of components of all families in `testing.FAMILIES` divide, and the most parameters that one has
WIDTH, MOST = 24, 5


def field(rhs, namespace, stack):
    """f(t, y, p) of a family for states (..., n) and parameters (..., m) in the arrays of a namespace."""
    rhs = bind(rhs, namespace)

    def f(t, y, p):
        dy = [None] * y.shape[-1]
        rhs(t, [y[..., i] for i in range(y.shape[-1])], [p[..., i] for i in range(p.shape[-1])], dy)
        return stack(dy, -1)

    return f


def attempts(times):
    """Sizes of all attempts, and which were accepted (the last one was), from the times of all evaluations.

    There are six an attempt, of which the first is at a fifth of it and the last at its end; and those at the start,
    which diffrax repeats until a step is accepted.
    """
    times = np.asarray(times)
    first, last = times[times != times[0]].reshape(-1, 6)[:, [0, -1]].T
    sizes = (last - first) / (1.0 - 1.0 / 5.0)
    starts = last - sizes
    return sizes, np.append(starts[1:] > starts[:-1] + 0.5 * sizes[:-1], True)


def alone(host):
    """A host of one trajectory, which solves the first of the problems."""
    return lambda problems, *more, firsts: [host(problems[0], *more, firsts[0])]


def scipy(problem, controller, rtol, atol, first):
    from scipy.integrate import solve_ivp

    times, dy = [], field(problem.rhs, NUMPY, np.stack)

    def f(t, y):
        times.append(t)
        return dy(t, y, problem.p)

    method = controller.for_scipy("RK45")
    sol = solve_ivp(f, problem.t_span, problem.y0, method=method, rtol=rtol, atol=atol, first_step=first)
    assert sol.success
    return attempts(times)


def torchdiffeq(problem, controller, rtol, atol, first):
    import torch
    from torchdiffeq import odeint

    times, dy, p = [], field(problem.rhs, torch_namespace(), torch.stack), torch.from_numpy(problem.p)

    def f(t, y):
        times.append(float(t))
        return dy(t, y, p)

    method, options = controller.for_torchdiffeq("dopri5"), {"first_step": first}
    span = torch.tensor(problem.t_span, dtype=torch.float64)
    odeint(f, torch.from_numpy(problem.y0), span, method=method, rtol=rtol, atol=atol, options=options)
    return attempts(times)


def torchode(problems, controller, rtol, atol, firsts, gradients=False):
    """All problems, of one family, in one batch.

    Attempts are decided in compiled code, or with gradients of the sizes in operations on tensors.
    """
    import torch
    import torchode as to

    times, dy = [], field(problems[0].rhs, torch_namespace(), torch.stack)
    y0, p, span = (torch.tensor(np.array([getattr(x, name) for x in problems])) for name in ("y0", "p", "t_span"))

    def f(t, y):
        times.append(t.detach().numpy().copy())
        return dy(t, y, p)

    term = to.ODETerm(f)
    solver = to.AutoDiffAdjoint(to.Dopri5(term=term), controller.for_torchode(atol, rtol, term=term))
    given = to.InitialValueProblem(y0.requires_grad_(gradients), span[:, 0], span[:, 1])
    sol = solver.solve(given, dt0=torch.tensor(firsts, dtype=torch.float64))
    assert not sol.status.any() and sol.ys.requires_grad == gradients
    found = []
    for column in np.array(times).T:
        sizes, accepted = attempts(column)
        live = sizes > 0.0  # one that has arrived rests until the others have
        found.append((sizes[live], accepted[live]))
    return found


TIMES: list[float] = []


@functools.cache
def diffrax_field():
    """The right-hand sides of all families as one, so that one program is compiled for all of them.

    A state is repeated until it has `WIDTH` components, which changes no norm that divides by their number.
    """
    import jax
    import jax.numpy as jnp

    def branch(problem):
        n, m, f = problem.y0.size, problem.p.size, field(problem.rhs, jax_namespace(), jnp.stack)
        return lambda t, y, p: jnp.tile(f(t, y[:n], p[:m]), WIDTH // n)

    branches = [branch(ss.problems.make(name, seed=1)) for name in testing.FAMILIES]

    def f(t, y, args):
        jax.debug.callback(lambda t: TIMES.append(float(t)), t, ordered=True)
        return jax.lax.switch(args[0], branches, t, y, args[1])

    return f


def diffrax(problem, controller, rtol, atol, first):
    import diffrax as dfx
    import jax
    import jax.numpy as jnp

    TIMES.clear()
    which = testing.FAMILIES.index(problem.name)
    args = jnp.array(which), jnp.pad(jnp.asarray(problem.p), (0, MOST - problem.p.size))
    y0 = jnp.tile(jnp.asarray(problem.y0), WIDTH // problem.y0.size)
    span = jnp.asarray(problem.t_span)
    sol = dfx.diffeqsolve(
        dfx.ODETerm(diffrax_field()), dfx.Dopri5(), span[0], span[1], jnp.asarray(first), y0, args,
        stepsize_controller=controller.for_diffrax(rtol, atol), max_steps=4096,
    )  # fmt: skip
    jax.effects_barrier()
    assert sol.result == dfx.RESULTS.successful
    return attempts(TIMES)


# -- files that were exported: the solver is a loop of one's own -------------------------------------------------------


def loop(problem, scale, decide, rtol, atol, first):
    """Dormand and Prince's pair as the usage in an exported file has it.  decide(seen): accept and factor."""
    from scipy.integrate import RK45

    f, times = field(problem.rhs, NUMPY, np.stack), []
    rtol, atol = scale * rtol, scale * atol
    (t, t_end), y, want, width = problem.t_span, problem.y0, first, problem.y0.size**0.5
    span, k = t_end - t, np.empty((7, y.size))

    def slope(t, y):
        times.append(t)
        return f(t, y, problem.p)

    k[0] = slope(t, y)
    while t < t_end:
        cut = want >= t_end - t
        h = t_end - t if cut else want
        for i in range(1, 6):
            k[i] = slope(t + RK45.C[i] * h, y + h * (RK45.A[i, :i] @ k[:i]))
        y_new = y + h * (RK45.B @ k[:6])
        k[6] = slope(t + h, y_new)
        tolerance = atol + rtol * np.maximum(abs(y), abs(y_new))
        ratio = h * (RK45.E @ k) / tolerance
        err = np.linalg.norm(ratio) / width
        accept, factor = decide({
            "err": err, "h": h, "order": 5.0, "ynorm": np.linalg.norm(y / tolerance) / width, "rtol": rtol,
            "enorm": abs(ratio).max() / err, "t_left": t_end - t, "span": span, "truncated": cut,
            "finite": np.isfinite(err),
        })  # fmt: skip
        if accept:
            t, y, k[0] = t_end if cut else t + h, y_new, k[6]
        want = (want if accept and cut else h) * factor
    return attempts(times)


def numpy_file(problem, controller, *more):
    names: dict = {}
    exec(export.python_file(controller, "own"), names)
    one = names["Controller"]()

    def decide(seen):
        return one.decide(**{name: seen.get(name, np.nan) for name in names["SLOTS"]})

    return loop(problem, names["TOLERANCE_SCALE"], decide, *more)


GLUE = """
static own_state state;
double begin(void) { own_init(&state); return OWN_TOLERANCE_SCALE; }
int decide(const double *r, double *factor)
{
    own_attempt a = own_blank();
    FILL
    return own_decide(&state, &a, factor);
}
"""


@functools.cache
def c_library(controller):
    from exported_c import library, slots_of

    text = export.c_header(controller, "own")
    fill = " ".join(f"a.{slot} = r[{rec.NAMES.index(slot)}];" for slot in slots_of(text, "own"))
    with tempfile.TemporaryDirectory() as folder:
        declared = "double begin(void);\nint decide(const double *r, double *factor);\n"
        (Path(folder) / "own.c").write_text(text + declared + GLUE.replace("FILL", fill))
        lib = library(Path(folder), "own")
    lib.begin.restype = ctypes.c_double
    return lib


def c_header(problem, controller, *more):
    lib, row, factor = c_library(controller), np.full(rec.N_RECORD, np.nan), ctypes.c_double()
    data = row.ctypes.data_as(ctypes.POINTER(ctypes.c_double))

    def decide(seen):
        for name, value in seen.items():
            row[rec.NAMES.index(name)] = value
        return bool(lib.decide(data, ctypes.byref(factor))), factor.value

    return loop(problem, lib.begin(), decide, *more)


#: solve(problems of one family, controller, rtol, atol, firsts=): sizes and acceptance of the attempts of each
HOSTS = {
    "scipy": alone(scipy), "torchdiffeq": alone(torchdiffeq), "torchode": torchode,
    "torchode, gradients": functools.partial(torchode, gradients=True), "diffrax": alone(diffrax),
    "numpy file": alone(numpy_file), "c header": alone(c_header),
}  # fmt: skip
