"""What a method for stochastic differential equations is, as plain data: one `SDEMethod` for each file of this folder.

The equations are dX = f(t, X) dt + g(t, X) dW, and a step of size h from (t, y) has the increment W of the Brownian
motion and, where a method asks for it (`levy`), its space-time Levy area

    H = (1/h) int_0^h (W_s - (s/h) W) ds,    Var H = h/12, independent of W,

from which the integrals of a scalar Brownian motion are (Roessler's second normal is dZ = 2 sqrt(3) H)

    c1 = (W^2 - h)/(2 sqrt(h)),   c2 = W/2 + H,   c3 = (W^3 - 3 h W)/(6 h):

I_(1,1) = sqrt(h) c1, I_(1,0) = int_0^h W_s ds = h c2 and I_(1,1,1) = h c3.

Noise kinds.  "diagonal": g has the shape of y, and component i has a Brownian motion W_i of its own.  "scalar": g has
the shape of y, and one W drives all components.  "additive": like diagonal, and g depends on t alone.  Strong orders
are those for noise that commutes: scalar and additive noise, and diagonal noise whose g_i depends on t and y_i alone.
Where g_i depends on other components the Ito methods and euler_heun and stochastic_heun keep their limit, with strong
order 1/2; milstein_stratonovich, whose W_i^2 stands for the products W_i W_j, has another limit there.

The scaled error of a step, with e the estimate that each file states and y, y1 the states at its ends, is

    E = rms( e / (atol + rtol max(|y|, |y1|)) ).

Two estimates.  The published one of the methods of strong order 1.5 has a size of the drift in it, h |k_1 + ... + k_4|,
which is of order h.  `estimate="difference"` puts h sum_i (alpha_i - alpha^_i) k_i in its place, alpha^ = (1, 0, ...):
with the noise's part, which stays, e is then the difference y1 - y^ to the embedded solution

    y^ = y + h k_1 + W sum_i beta1_i g_i + c1 sum_i beta2_i g_i

of strong order 1 (`sri`; in `sra1`, Euler-Maruyama's step).  y1 - y^ is I_(1,0) f' g and I_(0,1), I_(1,1,1) times
derivatives of g to leading order: its root mean square is of order h^(3/2), and of order h^2 where the noise is small.
Controllers divide their exponents by 2, the strong order plus 1/2, as with the published estimate.  Where the noise is
small that is the estimate's own order.  Where it is not, they answer an error with three quarters of the change that
would undo it: e is then a random number times h^(3/2), and a full answer would follow the chance in it.  By 3/2 the
answer to an error of order h^2 would be four thirds of that change, which makes sizes swing.  Two stages of the drift,
as sriw1 and sra1 have them, allow no other alpha^ of sum 1 but alpha itself and those on the line through it and
(1, 0), which scale e.  The published estimates of the other methods are differences already, and serve under both
names.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from .sri import SRI, Row

NOISES = ("diagonal", "scalar", "additive")
INTERPRETATIONS = ("ito", "stratonovich")
ESTIMATES = ("published", "difference")
HALF = Fraction(1, 2)
#: share of rejected attempts up to which solves say nothing of noise that does not commute
SELDOM = 0.05


@dataclass(frozen=True)
class SDEMethod:
    """A one-step method for dX = f dt + g dW.

    name            what it is called wherever a method is named.
    doc             one line: what it is.
    source          where it was published.
    interpretation  "ito" or "stratonovich": what g dW means.
    strong          strong order with the noise kinds `noises` (see above).
    strong_additive strong order where the noise is additive.
    noises          kinds of noise that it takes, of `NOISES`.
    levy            it needs the space-time Levy area H of every step.
    nf, ng          evaluations of drift and diffusion of an attempt with its error estimate.
    nf_plain, ng_plain  those of a step of given size, without estimate.
    adaptive        kinds of noise with which its steps may be adaptive.
    estimate        which error estimate it has: "sri" (delta e1 + e2, e1 a size of the drift), "lamba" (drift at
                    Euler's end, and the part of the noise that is of second order), "embedded" (against Euler's step,
                    or another solution of lower order).
    scale           what the estimate is divided by: "sum", atol + rtol max(|y|, |y1|); "max", max(atol, rtol
                    max(|y'|, |y'_before|)), see `gotta_go_fast`.
    delta           weight of e1 in "sri".
    slopes          weights s of the slopes in the drift's part of the estimate, e1 = h sum_i s_i k_i, of the methods of
                    strong order 1.5; () for the others.
    difference      those of estimate="difference", alpha - alpha^; () where there is one estimate alone.
    sri             Roessler coefficients of "sriw1" and "sosri"; None for the others.
    stiffness       (i, j) stages, counted from 0, and the width s of the stability region for the estimate
                    S = ||k_j - k_i|| / ||H0_j - H0_i|| / s; None where the method has none.
    """

    name: str
    doc: str
    source: str
    interpretation: str
    strong: Fraction
    strong_additive: Fraction
    noises: tuple[str, ...]
    levy: bool
    nf: int
    ng: int
    nf_plain: int
    ng_plain: int
    adaptive: tuple[str, ...]
    estimate: str
    scale: str = "sum"
    delta: Fraction = Fraction(1)
    slopes: Row = ()
    difference: Row = ()
    sri: SRI | None = None
    stiffness: tuple[int, int, float] | None = None

    def order(self, noise: str) -> float:
        """What a controller divides its exponents by (record slot ORDER): the strong order plus 1/2."""
        return float((self.strong_additive if noise == "additive" else self.strong) + HALF)

    def against_embedded(self) -> SDEMethod:
        """The method with estimate="difference"; itself where its one estimate is a difference."""
        if not self.difference:
            return self
        return replace(self, slopes=self.difference, difference=(), delta=Fraction(1), estimate="embedded")
