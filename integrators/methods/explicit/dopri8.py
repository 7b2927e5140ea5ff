"""Prince-Dormand 8(7), thirteen stages and a fourteenth, first same as last.

Source: P. J. Prince, J. R. Dormand, High order embedded Runge-Kutta formulae, J. Comput. Appl. Math. 7 (1981) 67-75,
RK8(7)13M.  The paper's coefficients are fractions of nine or ten digits, which approximate irrational ones:
with them rows of a sum to c within 1e-17, and the order conditions hold to 1e-16.  Error weights are b - b_hat, not
scaled.

The fourteenth stage is f(t + h, y_new), as in torchdiffeq and diffrax, whose tableaus are these numbers.  It makes the
thirteen stages of the paper first same as last.  A rejected attempt costs an evaluation more for it, and the slope at
the end is known: the change of slope over a step, dense output and, with stage 13 at c = 1 too, stiffness come of it.

Dense output of order 6 takes one more stage, at c = 1/3.  The paper has none; torchdiffeq joins values and slopes to
the value at the middle (a quartic, order 4), and diffrax takes the formula behind that, of order 5 (P. Bogacki, L. F.
Shampine, Interpolating high-order Runge-Kutta formulas, Comput. Math. Appl. 20 (1990) no. 3, 15-24).  Here `_dense_a`
and `_d` solve the order conditions of the trees of up to five and six nodes, the latter for every theta.  What these
leave free has the least squared defect of the trees of one node more (mean over theta in `_d`), and, with weight 1e-8,
the least sum of squares.  `_d` are the weights of

    y(t + theta h) = H(theta) + h theta^2 (1 - theta)^2 sum_i k_i (d_i0 + d_i1 theta + d_i2 theta^2)

with H the cubic Hermite interpolant.
"""

from fractions import Fraction

from .method import explicit
from .tableau import ExplicitTableau, fractions

# fmt: off
_a = (
    (),
    fractions("1/18"),
    fractions("1/48", "1/16"),
    fractions("1/32", 0, "3/32"),
    fractions("5/16", 0, "-75/64", "75/64"),
    fractions("3/80", 0, 0, "3/16", "3/20"),
    fractions("29443841/614563906", 0, 0, "77736538/692538347", "-28693883/1125000000", "23124283/1800000000"),
    fractions(
        "16016141/946692911", 0, 0, "61564180/158732637", "22789713/633445777", "545815736/2771057229",
        "-180193667/1043307555",
    ),
    fractions(
        "39632708/573591083", 0, 0, "-433636366/683701615", "-421739975/2616292301", "100302831/723423059",
        "790204164/839813087", "800635310/3783071287",
    ),
    fractions(
        "246121993/1340847787", 0, 0, "-37695042795/15268766246", "-309121744/1061227803", "-12992083/490766935",
        "6005943493/2108947869", "393006217/1396673457", "123872331/1001029789",
    ),
    fractions(
        "-1028468189/846180014", 0, 0, "8478235783/508512852", "1311729495/1432422823", "-10304129995/1701304382",
        "-48777925059/3047939560", "15336726248/1032824649", "-45442868181/3398467696", "3065993473/597172653",
    ),
    fractions(
        "185892177/718116043", 0, 0, "-3185094517/667107341", "-477755414/1098053517", "-703635378/230739211",
        "5731566787/1027545527", "5232866602/850066563", "-4093664535/808688257", "3962137247/1805957418",
        "65686358/487910083",
    ),
    fractions(
        "403863854/491063109", 0, 0, "-5068492393/434740067", "-411421997/543043805", "652783627/914296604",
        "11173962825/925320556", "-13158990841/6184727034", "3936647629/1978049680", "-160528059/685178525",
        "248638103/1413531060", 0,
    ),
)
_b = fractions(
    "14005451/335480064", 0, 0, 0, 0, "-59238493/1068277825", "181606767/758867731", "561292985/797845732",
    "-1041891430/1371343529", "760417239/1151165299", "118820643/751138087", "-528747749/2220607170", "1/4", 0,
)
_b_hat = fractions(
    "13451932/455176623", 0, 0, 0, 0, "-808719846/976000145", "1757004468/5645159321", "656045339/265891186",
    "-3867574721/1518517206", "465885868/322736535", "53011238/667516719", "2/45", 0, 0,
)
_c = fractions(
    0, "1/18", "1/12", "1/8", "5/16", "3/8", "59/400", "93/200", "5490023248/9719169821", "13/20",
    "1201146811/1299019798", 1, 1, 1,
)
_dense_a = fractions(
    "0.0435484422696930251598", 0, 0, 0, 0, "0.0697910857917921756589", "0.2257425147831125086768",
    "0.0099077792593693111210", "-0.0151153934001523203246", "-0.0024365313664125555882", "0.0038990241688114726137",
    "-0.0010680122553380397422", "0.0148796098877375531371", "-0.0158151858052797973787",
)
# d_i0, d_i1 and d_i2, each for the fifteen stages.
_d = (
    fractions(
        "-5.1619777719804527765635", 0, 0, 0, 0, "2.9159569547649189876682", "11.9178674909202521767682",
        "2.3116509548333286808841", "1.5679555014147749673305", "-1.5479490230929016939010",
        "-1.2967247942052563993595", "2.1450241423030816194855", "-2.2518034549577537022118",
        "1.5500000000000050648836", "-12.1499999999999969176136",
    ),
    fractions(
        "11.0872790112929175086672", 0, 0, 0, 0, "-13.3302668269838871051256", "-35.2931622381466948896457",
        "-13.1807021036776267617755", "-9.9881136653114629827392", "1.6974391869808807938130",
        "4.4503217310449272892188", "-4.7390239177685313263111", "7.4962288225694787175048",
        "-4.9000000000000028267526", "56.7000000000000015883055",
    ),
    fractions(
        "-7.9830729151896002763734", 0, 0, 0, 0, "10.4847116201363892182362", "29.2964208010155172463521",
        "19.8732426446387557787681", "17.1211274763923002280322", "-8.7952419493299784234101",
        "-9.9399759620453977061085", "11.7104120130765300951443", "-16.9676237286945952503146",
        "11.9000000000000220192057", "-56.6999999999999429273209",
    ),
)
# fmt: on


def _power_basis() -> tuple[tuple[Fraction, ...], ...]:
    """P, 15 rows of theta ... theta^6: the Hermite cubic and the terms of `_d`, multiplied out."""
    rows = []
    for i, (b, d0, d1, d2) in enumerate(zip((*_b, Fraction(0)), *_d, strict=True)):
        first, last = Fraction(i == 0), Fraction(i == 13)
        rows.append((
            first, 3 * b - 2 * first - last + d0, first + last - 2 * b + d1 - 2 * d0,
            d0 - 2 * d1 + d2, d1 - 2 * d2, d2,
        ))  # fmt: skip
    return tuple(rows)


TABLEAU = ExplicitTableau(
    name="dopri8",
    order=8,
    embedded_order=7,
    c=_c,
    a=(*_a, _b[:-1]),
    b=_b,
    b_hat=_b_hat,
    fsal=True,
    dense=_power_basis(),
    dense_order=6,
    exact=False,
    dense_c=fractions("1/3"),
    dense_a=(_dense_a,),
    stiffness=(12, 13),
)

METHOD = explicit(
    TABLEAU, "Prince-Dormand RK8(7)13M, fourteen stages, FSAL",
    "P. J. Prince, J. R. Dormand, J. Comput. Appl. Math. 7 (1981) 67"
)
