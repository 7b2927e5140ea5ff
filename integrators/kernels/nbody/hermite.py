"""Source of one trial step of the 4th-order Hermite scheme for N bodies, for a block of lanes.

    predict   x_p = x + h v + h^2/2 a + h^3/6 j,   v_p = v + h a + h^2/2 j
    evaluate  a1, j1 at (x_p, v_p)
    correct   v1 = v + h/2 (a + a1) + h^2/12 (j - j1),   x1 = x + h/2 (v + v1) + h^2/12 (a - a1)

(J. Makino & S. Aarseth, PASJ 44 (1992) 141; the time-symmetric form of the corrector is that of P. Hut, J. Makino & S.
McMillan, ApJ 443 (1995) L93 and of AMUSE's Hermite.)  PEC carries a1, j1 to the next step as they are, one evaluation a
step, as AMUSE does; PECE evaluates once more at (x1, v1): twice the price, about four times as accurate.  An evaluation
is acceleration and jerk together.

Rows: K0 = (a, j) at the start, K1 = (a1, j1) at the end of the step, carried over.  Higher derivatives come from the
Hermite interpolant through both:

    h^3 c = 12 (a - a1) + 6 h (j + j1),   h^2 s1 = 6 (a - a1) + h (2 j + 4 j1)          snap s1 at the end, crackle c

Error estimate: the corrector without its crackle term is a formula of order 3; the difference, h^5 c/120 in x and h^4
c/24 in v, scaled as in an embedded pair, E = rms_i( e_i/(atol_i + rtol max(|y_i|, |y1_i|)) ), goes as h^4 (ORDER = 4,
as for an embedded pair 4(3)).

Time scales, at the end of the step, from a1, j1, s1, c and (AMUSE) from the state of the last evaluation, which under
PEC is the predicted one:

    TAU_AMUSE    see `pairs`
    TAU_AARSETH  tau^2 = min over bodies (|a||s| + |j|^2)/(|j||c| + |s|^2)
    TAU_PRS      tau^2 = min over bodies 2 |a|^2/(|j|^2 + |a||s|)           (Pham, Rein & Spiegel 2024)

A body for which one is 0/0 is left out.  Before the first step there is no interpolant: the last two are then
min(sqrt(sum |a|^2 / sum |j|^2), tau_amuse), Aarseth's starting formula |a|/|j| over all bodies at once (a single body
whose acceleration passes through zero would ask for no step at all), guarded for systems at rest.  All agree on a
circular orbit.
"""

from __future__ import annotations

from ...core import record
from ..pieces import fsal
from ..templates import text
from .pairs import UNROLLED, Index, Lanes, element, forces, shifted

ERROR_ORDER = 4.0
#: the derivatives at the end are the next step's first
CARRY = "K_END = K1\n\n\n" + text(fsal.carry)
EXTRA = 10  # rows for a lane's sums where they do not stay in registers

R = {name: f"A[R + {i}*W + l]" for i, name in enumerate(record.NAMES)}


def attempt_source(bodies: int, dim: int, slots: frozenset[int], pece: bool) -> str:
    """Source of `attempt(A)`: fills YN, K1 and the record of every lane.

    `slots` are the optional record slots wanted.
    """
    half = bodies * dim
    lanes = Lanes("attempt", bodies <= UNROLLED, "h = A[HS + l]\nh2 = 0.5*h\nh6 = h*0.16666666666666666\n")
    y, a, at = "Y", "K0", element

    def new(c: Index) -> tuple[str, str, str, str]:
        """x1, v1, a1, j1 of component c."""
        rows = [lanes.ref(row, shifted(c, by)) for row in ("YN", "K1") for by in (0, half)]
        return tuple(rows)  # type: ignore[return-value]

    def old(c: Index) -> tuple[str, str, str, str]:
        return at(y, c), at(y, shifted(c, half)), at(a, c), at(a, shifted(c, half))

    def predict(c: Index) -> str:
        (x, v, a0, j0), (x1, v1, _, _) = old(c), new(c)
        return f"{x1} = {x} + h*({v} + h2*({a0} + h*0.3333333333333333*{j0}))\n{v1} = {v} + h*({a0} + h2*{j0})\n"

    def correct(c: Index) -> str:
        (x, v, a0, j0), (x1, v1, a1, j1) = old(c), new(c)
        text = f"{v1} = {v} + h2*(({a0} + {a1}) + h6*({j0} - {j1}))\n"
        return text + f"{x1} = {x} + h2*(({v} + {v1}) + h6*({a0} - {a1}))\n"

    lanes.each(half, predict)
    amuse = "rate" if record.TAU_AMUSE in slots else ""
    forces(lanes, bodies, dim, "YN", "K1", tau="" if pece else amuse)
    lanes.each(half, correct)
    if slots & {record.ERR, record.ENORM, record.YNORM}:
        _error(lanes, half, slots, old, new)
    if pece:
        forces(lanes, bodies, dim, "YN", "K1", tau=amuse)
    finite = lanes.sum("finite")
    lanes.lane(f"{finite} = 0.0\n")
    lanes.each(half, lambda c: f"{finite} += " + " + ".join(f"0.0*{q}" for q in new(c)) + "\n")
    err = f" + 0.0*{R['err']}" if record.ERR in slots else ""
    lanes.lane(
        f"{R['finite']} = where({finite}{err} == 0.0, 1.0, 0.0)\n{R['order']} = {ERROR_ORDER!r}\n{R['nf']} = "
        f"{2.0 if pece else 1.0!r}\n"
    )
    if amuse:
        lanes.lane(f"{R['tau_amuse']} = 1.0/sqrt({lanes.sum(amuse)})\n")
    if slots & {record.TAU_AARSETH, record.TAU_PRS}:
        _scales(lanes, bodies, dim, slots)
    if record.CURV in slots:
        _curvature(lanes, half, old, new)
    lanes.store("YN", 2 * half)
    lanes.store("K1", 2 * half)
    defs, loops = lanes.source()
    return defs + "@_inline\ndef attempt(A):\n" + loops


def _error(lanes: Lanes, half: int, slots: frozenset[int], old, new) -> None:
    n = 2 * half
    square, largest, norm = lanes.sum("square"), lanes.sum("largest"), lanes.sum("norm")
    more = bool(slots & {record.ENORM}), bool(slots & {record.YNORM})
    lanes.lane(f"{square} = 0.0\n" + (f"{largest} = 0.0\n" if more[0] else "") + (f"{norm} = 0.0\n" if more[1] else ""))

    def body(c: Index) -> str:
        # a component whose scale and error are both 0 is exact, not undefined
        (x, v, a0, j0), (x1, v1, a1, j1) = old(c), new(c)
        text = f"last = h*(2.0*({a0} - {a1}) + h*({j0} + {j1}))\n"  # h^4 c/6
        for y0, y1, c0, factor in ((x, x1, c, "(h*0.05)"), (v, v1, shifted(c, half), "0.25")):
            text += f"sc = {element('ATOL', c0)} + A[RTOL + l]*maximum(fabs({y0}), fabs({y1}))\n"
            text += "sc = where(sc > 1e-300, sc, 1e-300)\n"
            text += f"e = {factor}*last/sc\n{square} += e*e\n"
            if more[0]:
                text += f"{largest} = maximum({largest}, fabs(e))\n"
            if more[1]:
                text += f"r = {y0}/sc\n{norm} += r*r\n"
        return text

    lanes.each(half, body)
    text = f"err = sqrt({square}*{1.0 / n!r})\n"
    text += f"{R['err']} = err\n" if record.ERR in slots else ""
    text += f"{R['enorm']} = where(err > 0.0, {largest}/err, 1.0)\n" if more[0] else ""
    text += f"{R['ynorm']} = sqrt({norm}*{1.0 / n!r})\n" if more[1] else ""
    lanes.lane(text)


def _scales(lanes: Lanes, bodies: int, dim: int, slots: frozenset[int]) -> None:
    """Aarseth's and Pham, Rein & Spiegel's time scales, as the largest h^2/tau^2 over bodies."""
    half = bodies * dim
    wanted = [name for name, slot in (("aarseth", record.TAU_AARSETH), ("prs", record.TAU_PRS)) if slot in slots]
    sums = {name: lanes.sum("rate_" + name) for name in wanted}
    lanes.lane("".join(f"{s} = 1e-300\n" for s in sums.values()))

    def body(b: Index) -> str:
        text = "aa = 0.0\njj = 0.0\nss = 0.0\ncc = 0.0\n"
        for k in range(dim):
            c = shifted(b, k)
            a0, j0 = element("K0", c), element("K0", shifted(c, half))
            a1, j1 = lanes.ref("K1", c), lanes.ref("K1", shifted(c, half))
            text += f"q = {a1}\naa += q*q\nq = h*{j1}\njj += q*q\nd = 6.0*({a0} - {a1})\n"
            text += f"q = d + h*(2.0*{j0} + 4.0*{j1})\nss += q*q\nq = 2.0*d + 6.0*h*({j0} + {j1})\ncc += q*q\n"
        text += "m = sqrt(aa*ss)\n"
        if "aarseth" in sums:
            s = sums["aarseth"]
            rate = "(sqrt(jj*cc) + ss)/where(top > 0.0, top, 1.0)"
            text += f"top = m + jj\n{s} = maximum({s}, where(top > 0.0, {rate}, 0.0))\n"
        if "prs" in sums:
            s = sums["prs"]
            text += f"{s} = maximum({s}, where(aa > 0.0, 0.5*(jj + m)/where(aa > 0.0, aa, 1.0), 0.0))\n"
        return text

    lanes.each(bodies, body, dim)
    lanes.lane("".join(f"{R['tau_' + name]} = fabs(h)/sqrt({s})\n" for name, s in sums.items()))


def _curvature(lanes: Lanes, half: int, old, new) -> None:
    """|f1 - f0|/(|f1| + |f0|) of the slope f = (v, a), in [0, 1]."""
    p, q, r = (lanes.sum("turn" + s) for s in "012")
    lanes.lane(f"{p} = 0.0\n{q} = 0.0\n{r} = 0.0\n")

    def body(c: Index) -> str:
        (_, v, a0, _), (_, v1, a1, _) = old(c), new(c)
        pairs = ((v, v1), (a0, a1))
        return "".join(f"d = {g} - {f}\n{p} += d*d\n{q} += {f}*{f}\n{r} += {g}*{g}\n" for f, g in pairs)

    lanes.each(half, body)
    lanes.lane(f"den = sqrt({q}) + sqrt({r})\n{R['curv']} = where(den > 0.0, sqrt({p})/den, 0.0)\n")


def start_source(bodies: int, dim: int) -> str:
    """Source of `start(A)`: derivatives, time scales and a first size for lanes marked FRESH.

    The size, one hundredth of AMUSE's time scale, stands unless the caller or the controller (`first`) gives one.
    """
    half = bodies * dim
    lanes = Lanes("start", bodies <= UNROLLED, "fresh = A[FRESH + l] == 1.0\n")
    rate, force, turn = lanes.sum("rate"), lanes.sum("force"), lanes.sum("turn")
    finite = lanes.sum("finite")
    forces(lanes, bodies, dim, "Y", "K1", tau="rate", load=True)
    lanes.lane(f"{force} = 0.0\n{turn} = 0.0\n{finite} = 0.0\n")

    def body(c: Index) -> str:
        a1, j1 = lanes.ref("K1", c), lanes.ref("K1", shifted(c, half))
        text = f"{force} += {a1}*{a1}\n{turn} += {j1}*{j1}\n"
        return text + f"{finite} += 0.0*({a1} + {j1} + {element('Y', c)} + {element('Y', shifted(c, half))})\n"

    lanes.each(half, body)
    lanes.each(2 * half, lambda c: f"{element('K0', c)} = where(fresh, {lanes.ref('K1', c)}, {element('K0', c)})\n")
    text = f"some = {force} > 0.0\nratio = where(some, {turn}/where(some, {force}, 1.0), 0.0)\n"
    text += f"tau = 1.0/sqrt({rate})\nboth = 1.0/sqrt(maximum({rate}, ratio))\n"
    for name, value in (("tau_amuse", "tau"), ("tau_aarseth", "both"), ("tau_prs", "both")):
        text += f"{R[name]} = where(fresh, {value}, {R[name]})\n"
    text += (
        "given = A[HZERO + l] > 0.0\n"
        "guess = minimum(0.01*tau, fabs(A[TEND + l] - A[T + l]))\n"
        "A[H + l] = where(fresh, where(given, A[HZERO + l], guess), A[H + l])\n"
        "A[NFEV + l] += where(fresh, 1.0, 0.0)\n"
        f"bad = fresh & ({finite} != 0.0) & (A[STATUS + l] == 0.0)\n"
        "A[STATUS + l] = where(bad, BAD_START, A[STATUS + l])\n"
    )
    lanes.lane(text)
    defs, loops = lanes.source()
    return defs + "@_inline\ndef start(A):\n" + loops


def dense_source(bodies: int, dim: int) -> str:
    """Source of `prepare_dense` and `dense(A, l, theta)`: the quintic Hermite interpolant of y = (x, v) through y, y',
    y'' at both ends, y' = (v, a), y'' = (a, j).  Error O(h^5) a step under PEC, O(h^6) beyond the method's own under
    PECE; no evaluations.
    """
    half = bodies * dim
    body = "A[Z + j] = A[Y + j] + p1*(A[YN + j] - A[Y + j]) + f0*{} + f1*{} + g0*{} + g1*{}\n"
    return (
        "@_inline\ndef prepare_dense(A, l):\n    return 0.0\n\n@_inline\ndef dense(A, l, th):\n"
        "    h = A[HS + l]\n    t3 = th*th*th\n"
        "    p1 = t3*(10.0 + th*(-15.0 + 6.0*th))\n"
        "    f0 = h*(th + t3*(-6.0 + th*(8.0 - 3.0*th)))\n"
        "    f1 = h*t3*(-4.0 + th*(7.0 - 3.0*th))\n"
        "    g0 = 0.5*h*h*th*th*(1.0 + th*(-3.0 + th*(3.0 - th)))\n"
        "    g1 = 0.5*h*h*t3*(1.0 + th*(-2.0 + th))\n"
        f"    for i in range({half}):\n        j = i*W + l\n        k = j + {half}*W\n        "
        + body.format("A[Y + k]", "A[YN + k]", "A[K0 + j]", "A[K1 + j]")
        + f"    for i in range({half}):\n        k = i*W + l\n        j = k + {half}*W\n        "
        + body.format("A[K0 + k]", "A[K1 + k]", "A[K0 + j]", "A[K1 + j]")
    )


def hermite_parts(source, slots: frozenset[int], pece: bool):
    """`build.Parts` of the scheme for a Problem or Batch with `nbody`; ValueError where it has none."""
    from ..build import Parts

    if source.nbody is None:
        raise ValueError(f"Hermite methods need an N-body problem (nbody=(bodies, dimension)); {source.name!r} is none")
    bodies, dim = source.nbody
    attempt = attempt_source(bodies, dim, slots, pece)
    extra = EXTRA if bodies > UNROLLED else 0
    return Parts(attempt, start_source(bodies, dim), dense_source(bodies, dim), CARRY, 2, extra, {}, degree=5)
