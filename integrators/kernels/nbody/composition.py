"""Source of one step of leapfrog and of its 8th-order symmetric composition, for a block of lanes.

For x'' = a(t, x).  Leapfrog, kick-drift-kick (symplectic, time-reversible, order 2):

    v += h/2 a(t, x);   x += h v;   v += h/2 a(t + h, x)

A symmetric composition takes leapfrog steps of sizes g_1 h, ..., g_s h one after the other, g_i = g_{s+1-i};
neighbouring kicks share their force, so s forces a step.  The one of order 8 has s = 17: W. Kahan & R.-C. Li, Math.
Comp. 66 (1997) 1089, here with the digits of E. Hairer, C. Lubich & G. Wanner, "Geometric Numerical Integration", 2nd
ed., V.3.2, (3.12).

There is no error estimate (ERR is NaN): constant steps, or a criterion.  Varying the step loses symplecticity and,
unless the size is a symmetric function of both ends, reversibility; over long times a constant step is what these
methods are for. TAU_AMUSE is evaluated at the end of the step (see `pairs`).

Dense output is a step of theta h from the same start: as accurate as the step itself, at s forces an output time.

Rows: K0 = a at the start, K1 = a at the end (carried over), K2 and Z are dense output's.
"""

from __future__ import annotations

from ...core import record
from .. import calls
from ..pieces import fsal
from ..templates import text
from .pairs import UNROLLED, Lanes, criterion, element, forces, indent, shifted

_HALF = (
    0.13020248308889008087881763, 0.56116298177510838456196441, -0.38947496264484728640807860,
    0.15884190655515560089621075,
    -0.39590389413323757733623154, 0.18453964097831570709183254, 0.25837438768632204729397911,
    0.29501172360931029887096624,
)  # fmt: skip

#: sizes of the leapfrog steps in units of h
GAMMA: dict[str, tuple[float, ...]] = {
    "leapfrog": (1.0,),
    "composition8": (*_HALF, -0.60550853383003451169892108, *_HALF[::-1]),
}

EXTRA = 4
#: of the polynomial that stands for dense output, a step of theta h, where that is kept: far closer than the step's own
#: error
DEGREE = 8

R = {name: f"A[R + {i}*W + l]" for i, name in enumerate(record.NAMES)}


def coefficients(name: str) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """Kicks (s + 1,), drifts (s,) and times of the forces (s,), in units of h; the last time is exactly 1."""
    gamma = GAMMA[name]
    kicks = [0.5 * gamma[0], *(0.5 * (p + q) for p, q in zip(gamma, gamma[1:], strict=False)), 0.5 * gamma[-1]]
    times, total = [], 0.0
    for g in gamma:
        total += g
        times.append(total)
    return tuple(kicks), gamma, (*times[:-1], 1.0)


def _accelerate(lanes: Lanes, source, time: str, state: str, slope: str) -> None:
    """Add what fills `slope`[:n/2] from the positions in `state`, both in the block."""
    half = source.n // 2
    if source.nbody is None:
        lanes.call(calls.accel(time, state, slope, half) + "\n")
        return
    bodies, dim = source.nbody
    forces(lanes, bodies, dim, state, slope, jerk=False, load=True)
    lanes.store(slope, half)


def _unrolled(source) -> bool:
    """Whether a lane's step is written out: few bodies, or at most 24 coordinates of a general system."""
    return source.nbody[0] <= UNROLLED if source.nbody is not None else source.n <= 48


def _sweep(name: str, source, state: str, slope: str, size: str, single: bool = False) -> tuple[str, str]:
    """Definitions and lines of all stages, from state and slope rows that hold the start; `single`: for one lane l."""
    half = source.n // 2

    def kick(c) -> str:
        return f"{element(state, shifted(c, half))} = {element(state, shifted(c, half))} + kick*{element(slope, c)}\n"

    def drift(c) -> str:
        return f"{element(state, c)} = {element(state, c)} + drift*{element(state, shifted(c, half))}\n"

    stage = Lanes(
        name, _unrolled(source), args={"kick": f"KICKS[s]*{size}", "drift": f"DRIFTS[s]*{size}"}, single=single
    )
    stage.each(half, lambda c: kick(c) + drift(c))
    _accelerate(stage, source, f"A[T + l] + TIMES[s]*{size}", state, slope)
    last = Lanes(name + "_last", _unrolled(source), args={"kick": f"KICKS[STAGES]*{size}"}, single=single)
    last.each(half, kick)
    (defs, loops), (last_defs, last_loops) = stage.source(), last.source()
    return defs + last_defs, "    for s in range(STAGES):\n" + indent(loops, 4) + last_loops


def attempt_source(source, slots: frozenset[int], name: str) -> str:
    """Module constants and `attempt(A)`: fills YN, K1 and the record of every lane."""
    n = source.n
    kicks, drifts, times = coefficients(name)
    unrolled = _unrolled(source)
    begin = Lanes("copy", unrolled)
    begin.each(n, lambda c: f"{element('YN', c)} = {element('Y', c)}\n{element('K1', c)} = {element('K0', c)}\n")
    end = Lanes("report", unrolled)
    finite = end.sum("finite")
    end.lane(f"{finite} = 0.0\n")
    end.each(n, lambda c: f"{finite} += 0.0*({element('YN', c)} + {element('K1', c)})\n")
    end.lane(f"{R['finite']} = where({finite} == 0.0, 1.0, 0.0)\n{R['nf']} = {float(len(drifts))!r}\n")
    if record.TAU_AMUSE in slots and source.nbody is not None:
        bodies, dim = source.nbody
        criterion(end, bodies, dim, "YN", "rate")
        end.lane(f"{R['tau_amuse']} = 1.0/sqrt({end.sum('rate')})\n")
    parts = [begin.source(), _sweep("stage", source, "YN", "K1", "A[HS + l]"), end.source()]
    head = f"KICKS = {kicks!r}\nDRIFTS = {drifts!r}\nTIMES = {times!r}\nSTAGES = {len(drifts)}\n\n"
    return head + "".join(p[0] for p in parts) + "@_inline\ndef attempt(A):\n" + "".join(p[1] for p in parts)


def start_source(source) -> str:
    """Source of `start(A)`: first acceleration, time scale and a first size of lanes marked FRESH.

    The size, one hundredth of |y|/|y'| with both in the problem's own units, stands unless the caller or the controller
    gives one.
    """
    half = source.n // 2
    lanes = Lanes("start", _unrolled(source), "fresh = A[FRESH + l] == 1.0\n")
    _accelerate(lanes, source, "A[T + l]", "Y", "K1")
    if source.nbody is not None:
        bodies, dim = source.nbody
        criterion(lanes, bodies, dim, "Y", "rate")
        lanes.lane(f"{R['tau_amuse']} = where(fresh, 1.0/sqrt({lanes.sum('rate')}), {R['tau_amuse']})\n")
    size, slope = lanes.sum("size"), lanes.sum("slope")
    lanes.lane(f"{size} = 0.0\n{slope} = 0.0\n")

    def body(c) -> str:
        x, v, a0, a1 = element("Y", c), element("Y", shifted(c, half)), element("K0", c), element("K1", c)
        text = f"{a0} = where(fresh, {a1}, {a0})\n{element('K0', shifted(c, half))} = 0.0\n"
        return text + f"{size} += {x}*{x} + {v}*{v}\n{slope} += {v}*{v} + {a1}*{a1}\n"

    lanes.each(half, body)
    lanes.lane(
        f"guess = 0.01*sqrt({size}/{slope})\n"
        "guess = minimum(where(guess > 0.0, guess, 1e-6), fabs(A[TEND + l] - A[T + l]))\n"
        "A[H + l] = where(fresh, where(A[HZERO + l] > 0.0, A[HZERO + l], guess), A[H + l])\n"
        "A[NFEV + l] += where(fresh, 1.0, 0.0)\n"
        f"bad = fresh & (0.0*{size} + 0.0*{slope} != 0.0) & (A[STATUS + l] == 0.0)\n"
        "A[STATUS + l] = where(bad, BAD_START, A[STATUS + l])\n"
    )
    defs, loops = lanes.source()
    return defs + "@_inline\ndef start(A):\n" + loops


def dense_source(source) -> str:
    """Source of `prepare_dense(A, l)` and `dense(A, l, theta)`: Z = y(t + theta h), its forces counted."""
    defs, lines = _sweep("dense_stage", source, "Z", "K2", "(th*A[HS + l])", single=True)
    return (
        defs + "@_inline\ndef prepare_dense(A, l):\n    return 0.0\n\n@_inline\ndef dense(A, l, th):\n"
        "    for i in range(N):\n        j = i*W + l\n        A[Z + j] = A[Y + j]\n        A[K2 + j] = A[K0 + j]\n"
        + lines + "    A[NFEV + l] += float(STAGES)\n"
    )  # fmt: skip


def composition_parts(source, slots: frozenset[int], name: str):
    """`build.Parts` for a Problem or Batch with `nbody` or `accel`; ValueError where it has neither."""
    from ..build import Parts

    if source.nbody is None and source.accel is None:
        raise ValueError(
            f"{name} needs an N-body problem (nbody=(bodies, dimension)) or accelerations (accel(t, y, p, a)); "
            f"{source.name!r} has neither"
        )
    carry = "K_END = K1\n\n\n" + text(fsal.carry)
    objects = {} if source.nbody is not None else {"accel": source.accel}
    return Parts(
        attempt_source(source, slots, name), start_source(source), dense_source(source), carry, 3, EXTRA, objects,
        degree=DEGREE,
    )  # fmt: skip
