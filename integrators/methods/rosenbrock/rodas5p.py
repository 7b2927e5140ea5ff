"""Rodas5P: Rosenbrock method of order 5(4), eight stages, stiffly accurate, L-stable; dense output of order 4.

Source: G. Steinebach, Construction of Rosenbrock-Wanner method Rodas5P and numerical benchmarks within the Julia
Differential Equations package, BIT Numer. Math. 63 (2023), article 27.  Decimals, in the transformed variables, as in
OrdinaryDiffEqRosenbrock (RODAS5PA, RODAS5PC, RODAS5Pc, RODAS5Pd, RODAS5PH); with these 16 digits the order conditions
hold to 1e-13.

Stages 6, 7 and 8 share c = 1 and g_7 = g_6 + u_6, g_8 = g_7 + u_7, y_new = g_8 + u_8; the error estimate is u_8.  The
conditions of Prothero-Robinson and of semidiscretised parabolic problems hold too, so that the order is kept there.
It is no W-method: order 2 is left with a wrong Jacobian (1 for y_hat), order 3 with one kept over a few steps.

The paper's dense output is (1 - theta) y + theta (y_new + (1 - theta) (K_1 + theta (K_2 + theta K_3))), K = H u.
"""

from fractions import Fraction

from ..explicit.tableau import fractions
from .method import rosenbrock
from .tableau import RosenbrockTableau

# fmt: off
_last = fractions(
    "-7.502846399306121", "2.561846144803919", "-11.627539656261098", "-0.18268767659942256", "0.030198172008377946",
)
_a = (
    (),
    fractions("3.0"),
    fractions("2.849394379747939", "0.45842242204463923"),
    fractions("-6.954028509809101", "2.489845061869568", "-10.358996098473584"),
    fractions("2.8029986275628964", "0.5072464736228206", "-0.3988312541770524", "-0.04721187230404641"),
    _last,
    (*_last, Fraction(1)),
    (*_last, Fraction(1), Fraction(1)),
)
_C = (
    (),
    fractions("-14.155112264123755"),
    fractions("-17.97296035885952", "-2.859693295451294"),
    fractions("147.12150275711716", "-1.41221402718213", "71.68940251302358"),
    fractions("165.43517024871676", "-0.4592823456491126", "42.90938336958603", "-5.961986721573306"),
    fractions(
        "24.854864614690072", "-3.0009227002832186", "47.4931110020768", "5.5814197821558125", "-0.6610691825249471",
    ),
    fractions(
        "30.91273214028599", "-3.1208243349937974", "77.79954646070892", "34.28646028294783", "-19.097331116725623",
        "-28.087943162872662",
    ),
    fractions(
        "37.80277123390563", "-3.2571969029072276", "112.26918849496327", "66.9347231244047", "-40.06618937091002",
        "-54.66780262877968", "-9.48861652309627",
    ),
)
_H = (
    fractions(
        "25.948786856663858", "-2.5579724845846235", "10.433815404888879", "-2.3679251022685204", "0.524948541321073",
        "1.1241088310450404", "0.4272876194431874", "-0.17202221070155493",
    ),
    fractions(
        "-9.91568850695171", "-0.9689944594115154", "3.0438037242978453", "-24.495224566215796", "20.176138334709044",
        "15.98066361424651", "-6.789040303419874", "-6.710236069923372",
    ),
    fractions(
        "11.419903575922262", "2.8879645146136994", "72.92137995996029", "80.12511834622643", "-52.072871366152654",
        "-59.78993625266729", "-0.15582684282751913", "4.883087185713722",
    ),
)
# fmt: on
_m = (*_a[-1], Fraction(1))

TABLEAU = RosenbrockTableau(
    name="rodas5p",
    order=5,
    embedded_order=4,
    w_order=2,
    embedded_w_order=1,
    gamma=Fraction("0.21193756319429014"),
    c=fractions(
        0, "0.6358126895828704", "0.4095798393397535", "0.9769306725060716", "0.4288403609558664", 1, 1, 1
    ),  # fmt: skip
    d=fractions(
        "0.21193756319429014", "-0.42387512638858027", "-0.3384627126235924", "1.8046452872882734",
        "2.325825639765069", 0, 0, 0,
    ),  # fmt: skip
    a=_a,
    C=_C,
    m=_m,
    e=(*[Fraction(0)] * 7, Fraction(1)),
    # theta m + theta (1 - theta) (H_1 + theta H_2 + theta^2 H_3) in powers of theta.
    dense=tuple((m + h1, h2 - h1, h3 - h2, -h3) for m, h1, h2, h3 in zip(_m, *_H, strict=True)),
    dense_order=4,
    stiffly_accurate=True,
)

METHOD = rosenbrock(
    TABLEAU, "Rosenbrock, eight stages, stiffly accurate, L-stable", "G. Steinebach, BIT Numer. Math. 63 (2023) 27"
)
