"""Names of methods and step-size controllers in other libraries, and what is the same, or nearest, here.

Sources are the libraries' own lists: SciPy `solve_ivp`, torchdiffeq's README, diffrax's "ODE solvers" and "Step size
controllers", OrdinaryDiffEq.jl's solver pages, SUNDIALS' ARKODE Butcher tables and SUNAdaptController, PETSc TSAdapt.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple


class Found(NamedTuple):
    """What another library's name is here.

    library    whose name it is; "" where many have it
    here       the name here; "" where nothing is like it
    same       whether it is the same coefficients, and not only the nearest
    note       what is to be said beside it, a clause without a full stop
    """

    library: str
    here: str
    same: bool = True
    note: str = ""


_FIXED = "methods of fixed steps are in stepsmith.neural.odeint; for a fixed step of solve take controller='constant'"
_NO_GRID = f"it has no error estimate; {_FIXED}"
SCIPY, TORCH, DIFFRAX, JULIA, SUN = "SciPy", "torchdiffeq", "diffrax", "OrdinaryDiffEq.jl", "SUNDIALS"

METHODS: dict[str, Found] = {
    # SciPy
    "RK23": Found(SCIPY, "bs32"), "RK45": Found(SCIPY, "dopri5"), "DOP853": Found(SCIPY, "dop853"),
    "Radau": Found(SCIPY, "radau5"), "BDF": Found(SCIPY, "bdf"), "VODE": Found(SCIPY, "bdf", False),
    "LSODA": Found(
        SCIPY, "bdf", False, "its two kinds are 'adams' and 'bdf' here, and none changes from one to the other"
    ),
    # torchdiffeq
    "dopri8": Found(TORCH, "dopri8"), "fehlberg2": Found(TORCH, "fehlberg2"), "bosh3": Found(TORCH, "bs32"),
    "adaptive_heun": Found(TORCH, "adaptive_heun"), "euler": Found(TORCH, "adaptive_heun", False, _NO_GRID),
    "midpoint": Found(TORCH, "adaptive_heun", False, _NO_GRID), "heun2": Found(TORCH, "adaptive_heun", False, _NO_GRID),
    "heun3": Found(TORCH, "bs32", False, _NO_GRID), "rk4": Found(TORCH, "dopri5", False, _NO_GRID),
    "explicit_adams": Found(TORCH, "adams", False), "implicit_adams": Found(TORCH, "adams", False),
    "fixed_adams": Found(TORCH, "adams", False), "scipy_solver": Found(TORCH, "dopri5", False),
    # diffrax
    "Dopri5": Found(DIFFRAX, "dopri5"), "Dopri8": Found(DIFFRAX, "dopri8"), "Bosh3": Found(DIFFRAX, "bs32"),
    "Heun": Found(DIFFRAX, "adaptive_heun"), "Ralston": Found(DIFFRAX, "adaptive_heun", False, "of order 2 as well"),
    "Kvaerno3": Found(DIFFRAX, "esdirk43", False, "of order 4"),
    "Kvaerno4": Found(DIFFRAX, "esdirk43", False, "of order 4 as well"), "Kvaerno5": Found(DIFFRAX, "kvaerno5"),
    "ImplicitEuler": Found(DIFFRAX, "radau5", False, "L-stable as well"),
    "KenCarp3": Found(DIFFRAX, "esdirk43", False, "implicit as a whole: there is no splitting here"),
    "KenCarp4": Found(DIFFRAX, "esdirk43", False, "implicit as a whole: there is no splitting here"),
    "KenCarp5": Found(DIFFRAX, "kvaerno5", False, "implicit as a whole: there is no splitting here"),
    "Sil3": Found(DIFFRAX, "esdirk43", False, "implicit as a whole: there is no splitting here"),
    "SemiImplicitEuler": Found(DIFFRAX, "leapfrog", False, "symplectic as well"),
    "LeapfrogMidpoint": Found(DIFFRAX, "leapfrog", False), "ReversibleHeun": Found(DIFFRAX, "adaptive_heun", False),
    # Julia
    "BS3": Found(JULIA, "bs32"), "BS5": Found(JULIA, "bs54"), "DP5": Found(JULIA, "dopri5"),
    "DP8": Found(JULIA, "dop853"), "Tsit5": Found(f"{DIFFRAX}'s and {JULIA}", "tsit5"), "Vern6": Found(JULIA, "vern6"),
    "Vern7": Found(JULIA, "vern7"), "Vern8": Found(JULIA, "vern8"), "Vern9": Found(JULIA, "vern9"),
    "TsitPap8": Found(JULIA, "vern8", False), "Feagin10": Found(JULIA, "gbs", False, "of orders 4 to 18"),
    "Feagin12": Found(JULIA, "gbs", False, "of orders 4 to 18"),
    "Feagin14": Found(JULIA, "gbs", False, "of orders 4 to 18"), "OwrenZen5": Found(JULIA, "tsit5", False),
    "AutoTsit5": Found(JULIA, "rodas5p", False, "no method changes from an explicit to an implicit one here"),
    "Rosenbrock23": Found(JULIA, "rosenbrock23"), "Rosenbrock32": Found(JULIA, "rosenbrock23", False),
    "ROS34PW2": Found(JULIA, "ros34pw2"), "ROS3PRw": Found(JULIA, "ros3prw"), "Rodas5P": Found(JULIA, "rodas5p"),
    "Rodas3": Found(JULIA, "ros34pw2", False), "Rodas4": Found(JULIA, "rodas5p", False, "of order 5"),
    "Rodas4P": Found(JULIA, "rodas5p", False, "of order 5"), "Rodas5": Found(JULIA, "rodas5p", False),
    "TRBDF2": Found(JULIA, "rosenbrock23", False, "of order 2 and L-stable as well"),
    "Trapezoid": Found(JULIA, "rosenbrock23", False, "of order 2 as well"),
    "RadauIIA5": Found(JULIA, "radau5"), "RadauIIA3": Found(JULIA, "radau5", False, "of order 5"),
    "RadauIIA9": Found(JULIA, "radau5", False, "of order 5"), "AdaptiveRadau": Found(JULIA, "radau5", False),
    "QNDF": Found(JULIA, "bdf", False), "FBDF": Found(JULIA, "bdf", False), "ABDF2": Found(JULIA, "bdf", False),
    "VCABM": Found(JULIA, "adams", False), "VCAB5": Found(JULIA, "adams", False),
    "ROCK2": Found(JULIA, "rkc", False, "stabilised and of order 2 as well"),
    "ROCK4": Found(JULIA, "rkc", False, "stabilised, of order 2"), "RKC": Found(JULIA, "rkc", False),
    "ESERK5": Found(JULIA, "rkc", False, "stabilised, of order 2"),
    "DPRKN6": Found(JULIA, "dprkn6"), "DPRKN12": Found(JULIA, "dprkn12"),
    "VelocityVerlet": Found(JULIA, "leapfrog", False), "VerletLeapfrog": Found(JULIA, "leapfrog", False),
    "KahanLi8": Found(JULIA, "composition8", False, "of order 8 as well"),
    "ExtrapolationMidpointDeuflhard": Found(JULIA, "gbs", False),
    "ExtrapolationMidpointHairerWanner": Found(JULIA, "gbs", False),
    # SUNDIALS
    "CVODE": Found(SUN, "bdf", False), "CVODE_BDF": Found(SUN, "bdf", False), "CV_BDF": Found(SUN, "bdf", False),
    "CVODE_Adams": Found(SUN, "adams", False), "CV_ADAMS": Found(SUN, "adams", False),
    "IDA": Found(SUN, "radau5", False, "with a mass matrix: there is no solver of fully implicit equations here"),
    "ARKODE": Found(SUN, "kvaerno5", False), "ARKODE_BOGACKI_SHAMPINE_4_2_3": Found(SUN, "bs32"),
    "ARKODE_HEUN_EULER_2_1_2": Found(SUN, "adaptive_heun"), "ARKODE_DORMAND_PRINCE_7_4_5": Found(SUN, "dopri5"),
    "ARKODE_FEHLBERG_6_4_5": Found(SUN, "fehlberg45"), "ARKODE_CASH_KARP_6_4_5": Found(SUN, "fehlberg45", False),
    "ARKODE_VERNER_8_5_6": Found(SUN, "vern6", False), "ARKODE_FEHLBERG_13_7_8": Found(SUN, "dopri8", False),
    "ARKODE_TRBDF2_3_3_2": Found(SUN, "rosenbrock23", False, "of order 2 and L-stable as well"),
    "ARKODE_KVAERNO_7_4_5": Found(SUN, "kvaerno5"), "ARKODE_KVAERNO_5_3_4": Found(SUN, "esdirk43", False),
    "ARKODE_SDIRK_5_3_4": Found(SUN, "esdirk43", False),
}  # fmt: skip

CONTROLLERS: dict[str, Found] = {
    "PIDController": Found(
        f"{DIFFRAX}'s, torchode's and {JULIA}", "h312pid", False,
        "a PID filter; diffrax's with its defaults is 'diffrax', a pure I law",
    ),
    "PID": Found("", "h312pid", False, "a PID filter; SUNDIALS' is 'sundials_pid'"),
    "PIController": Found(JULIA, "julia_pi"), "PI": Found("", "pi34", False, "Gustafsson's PI law"),
    "IController": Found(JULIA, "i"), "IntegralController": Found("torchode", "torchode"),
    "PredictiveController": Found(JULIA, "predictive", False), "gustafsson": Found(JULIA, "predictive", False),
    "standard": Found("Hairer and Wanner", "i", False), "elementary": Found("", "i"),
    "deadbeat": Found("", "i"), "ConstantStepSize": Found(DIFFRAX, "constant"),
    "StepTo": Found(DIFFRAX, "constant", False, "given times are hit by tstops="),
    "ClipStepSizeController": Found(DIFFRAX, "universal_law", False, "given times are hit by tstops="),
    "NonAdaptiveController": Found("", "constant", False),
    "ARK_ADAPT_PID": Found(SUN, "sundials_pid"), "ARK_ADAPT_PI": Found(SUN, "sundials_pi"),
    "ARK_ADAPT_I": Found(SUN, "i", False), "ARK_ADAPT_EXP_GUS": Found(SUN, "expgus"),
    "ARK_ADAPT_IMP_GUS": Found(SUN, "impgus"), "ARK_ADAPT_IMEX_GUS": Found(SUN, "impgus", False),
    "SUNAdaptController_Soderlind": Found(SUN, "arkode"), "SUNAdaptController_PID": Found(SUN, "sundials_pid"),
    "SUNAdaptController_PI": Found(SUN, "sundials_pi"), "SUNAdaptController_I": Found(SUN, "i", False),
    "SUNAdaptController_ExpGus": Found(SUN, "expgus"), "SUNAdaptController_ImpGus": Found(SUN, "impgus"),
    "TSADAPTDSP": Found("PETSc", "petsc_dsp"), "TSADAPTBASIC": Found("PETSc", "i", False),
    "H211": Found("Soderlind's filters", "h211pi"), "H321": Found("Soderlind's filters", "h321"),
}  # fmt: skip


def _key(name: str) -> str:
    return name.strip().removesuffix("()").replace("-", "").replace("_", "").lower()


_TABLES = {
    kind: {_key(name): (name, found) for name, found in table.items()}
    for kind, table in (("method", METHODS), ("controller", CONTROLLERS), ("law", CONTROLLERS))
}


def hint(kind: str, name: str, options: Iterable[str]) -> str:
    """What is said of a name that another library has: whose it is, and what is the same or nearest among `options`.

    kind: "method", "controller" or "law", else nothing is known.  "" where no library is known for the name.
    """
    theirs, found = _TABLES.get(kind, {}).get(_key(name), ("", None))
    if found is None:
        return ""
    whose = f"{found.library}'s {theirs}" if found.library else theirs
    if found.here not in options:
        return f"{whose} has nothing like it here; "
    note = f" ({found.note})" if found.note else ""
    if found.same:
        return f"did you mean {found.here!r}? {whose} is {found.here!r} here{note}; "
    return f"did you mean {found.here!r}? {whose} is not here, and that is the nearest{note}; "


def of_object(kind: str, value: Any, options: Iterable[str] | None = None) -> str:
    """As `hint`, of a class of another library or an object of one (`scipy.integrate.RK45`, `diffrax.Tsit5()`).

    options: None where all that is named here is there.
    """
    if options is None:
        options = {found.here for _, found in _TABLES[kind].values()}
    found = hint(kind, (value if isinstance(value, type) else type(value)).__name__, options)
    return found.removesuffix("; ")
