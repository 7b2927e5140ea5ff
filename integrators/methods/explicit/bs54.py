"""Bogacki-Shampine 5(4), eight stages, first same as last, with their interpolant of order 5.

Source: P. Bogacki, L. F. Shampine, An efficient Runge-Kutta (4,5) pair, Comput. Math. Appl. 32 (1996) no. 6, 15-28;
the fractions as in RKSUITE and OrdinaryDiffEq.jl, and exact.  The paper has two error estimates, one of the first six
stages and one of all eight.  Codes that reject by the first one before the last two stages are taken save evaluations
there; here the estimate is the second one, b - b_hat.

Dense output of order 5 takes three more stages.  The eight stages have a free interpolant of order 4, too, but on
smooth problems its error is twenty times that of the steps.
"""

from .method import explicit
from .tableau import ExplicitTableau, fractions

# fmt: off
_a = (
    (),
    fractions("1/6"),
    fractions("2/27", "4/27"),
    fractions("183/1372", "-162/343", "1053/1372"),
    fractions("68/297", "-4/11", "42/143", "1960/3861"),
    fractions("597/22528", "81/352", "63099/585728", "58653/366080", "4617/20480"),
    fractions("174197/959244", "-30942/79937", "8152137/19744439", "666106/1039181", "-29421/29068", "482048/414219"),
)
_b = fractions("587/8064", 0, "4440339/15491840", "24353/124800", "387/44800", "2152/5985", "7267/94080", 0)
_b_hat = fractions("2479/34992", 0, "123/416", "612941/3411720", "43/1440", "2272/6561", "79937/1113912", "3293/556956")
_dense_a = (
    fractions("455/6144", 0, "10256301/35409920", "2307361/17971200", "-387/102400", "73/5130", "-7267/215040", "1/32"),
    fractions(
        "-837888343715/13176988637184", "30409415/52955362", "-48321525963/759168069632",
        "8530738453321/197654829557760", "1361640523001/1626788720640", "-13143060689/38604458898",
        "18700221969/379584034816", "-5831595/847285792", "-5183640/26477681",
    ),
    fractions(
        "98719073263/1551965184000", "1307/123552", "4632066559387/70181753241600", "7828594302389/382182512025600",
        "40763687/11070259200", "34872732407/224610586200", "-2561897/30105600", "1/10", "-1/10",
        "-1403317093/11371610250",
    ),
)
#: coefficients of theta ... theta^6 for each of the eleven stages
_dense = (
    fractions(
        1, "-3547880131/437837400", "35856435071/1313512200", "-2722545893/59875200", "12923488183/350269920",
        "-12134338393/1050809760",
    ),
    fractions(0, 0, 0, 0, 0, 0),
    fractions(
        0, "-1046723109/304608304", "4323308999/152304152", "-27096444225/374902528", "65150312289/870309440",
        "-33197340367/1218433216",
    ),
    fractions(
        0, "-55058055073/41469456600", "3249645975331/248816739600", "-201150852119/5671036800",
        "6343174409579/165877826400", "-284800997201/19905339168",
    ),
    fractions(0, "-1772261/10810800", "3586937/4054050", "-2903933/1478400", "85695583/43243200", "-540919/741312"),
    fractions(
        0, "2449079168/623918295", "-9134977024/267393555", "413114104/5332635", "-41174140576/623918295",
        "7157998304/374350977",
    ),
    fractions(0, "-7267/3920", "792103/47040", "-1329861/31360", "94471/2240", "-138073/9408"),
    fractions(0, "37/16", "-1349/64", "3435/64", "-3479/64", "1245/64"),
    fractions(0, 0, "-7/3", 23, -39, "55/3"),
    fractions(
        0, "-423642896/126351225", "11411880511/379053675", "-26477681/359975", "1774004627/25270245",
        "-1774004627/75810735",
    ),
    fractions(0, 12, -59, 117, -105, 35),
)
# fmt: on

TABLEAU = ExplicitTableau(
    name="bs54",
    order=5,
    embedded_order=4,
    c=fractions(0, "1/6", "2/9", "3/7", "2/3", "3/4", 1, 1),
    a=(*_a, _b[:-1]),
    b=_b,
    b_hat=_b_hat,
    fsal=True,
    dense=_dense,
    dense_order=5,
    exact=True,
    dense_c=fractions("1/2", "5/6", "1/9"),
    dense_a=_dense_a,
    stiffness=(6, 7),
)

METHOD = explicit(
    TABLEAU, "Bogacki-Shampine, eight stages, FSAL", "P. Bogacki, L. F. Shampine, Comput. Math. Appl. 32 (1996) 15"
)
