"""The published laws and the universal one: gains, and the rules of the code that they are used in.

`RULES` are bundles of acceptance, safety, limiter, floors and rejection rules, checked against the
sources of the named codes; `LAWS` maps a name to (rules, gains and changes to the rules, what it is,
source).
"""

from __future__ import annotations

import math

from ...integrators.core.contract import ACCEPT_MAX

#: acceptance, safety, limiter, floors and rejection rules of codes
RULES: dict[str, dict[str, float]] = {
    # the textbook's: outside safety, accept E <= 1, no growth right after a rejection
    "plain": {"safety": 0.9, "fmin": 0.2, "fmax": 10.0, "accept_err": 1.0, "after_max": 1.0},
    # scipy/integrate/_ivp/rk.py: E < 1 strictly
    "scipy": {
        "safety": 0.9, "fmin": 0.2, "fmax": 10.0, "accept_err": math.nextafter(1.0, 0.0), "after_max": 1.0,
        "nonfinite": 0.2,
    },
    # dopri5.f: FACOLD = max(ERR, 1e-4), 1e-4 at the start; a rejected step uses FAC11 alone
    "hairer": {
        "safety": 0.9, "fmin": 0.2, "fmax": 10.0, "accept_err": 1.0, "err_floor": 1e-4, "err_start": 1e-4,
        "reject_own": 0.0, "after_max": 1.0,
    },
    # OrdinaryDiffEqCore PIController: as dopri5.f, but growth after a rejection is free and 1e4 before
    # the first accepted step
    "julia": {
        "safety": 0.9, "fmin": 0.2, "fmax": 10.0, "fmax_first": 1e4, "accept_err": 1.0, "err_floor": 1e-4,
        "err_start": 1e-4, "reject_own": 0.0, "after_max": math.inf,
    },
    # PETSc TSADAPTDSP: target E = 1, smooth limiter with kappa 1, then the clip; accept where the factor
    # is at least .9 * .9; step ratios are the factors of accepted steps, rejected ones leave no trace.
    # Ours: an E above 50 is rejected, with the one-term law.  After a step of tiny error a filter's factor
    # stays above .81 at any error: h0211 accepted 14,852 tolerances at a switch in a right-hand side.
    "petsc": {
        "safety": 1.0, "kappa": 1.0, "fmin": 0.1, "fmax": 10.0, "accept_err": ACCEPT_MAX, "accept_factor": 0.81,
        "err_min": 1e-10, "err_floor": 1e-10, "reject_own": 0.0, "reject_b1": 1.0, "after_max": math.inf,
        "own_ratios": 1.0,
    },
    # ARKODE: hold after a failed step, shrink to at most .3 from the second failure on
    "sundials": {
        "safety": 0.9, "fmin": 0.1, "fmax": 20.0, "fmax_first": 1e4, "accept_err": 1.0, "err_min": 1e-10,
        "err_floor": 1e-10, "reject_max": 1.0, "reject_max2": 0.3, "after_min": 1.0, "after_max": 1.0,
        "nonfinite": 0.25,
    },
    # radau5.f: stored error at least .01, one-term law on rejection, .1 where the first step fails
    "radau5": {
        "safety": 0.9, "fmin": 0.2, "fmax": 8.0, "accept_err": math.nextafter(1.0, 0.0), "err_floor": 0.01,
        "min_i": 1.0, "newton_m": 7.0, "reject_own": 0.0, "reject_b1": 1.0, "reject_first": 0.1,
        "after_max": 1.0,
        "nonfinite": 0.5,
    },
}  # fmt: skip

_SOD03 = "Soderlind 2003, doi 10.1145/641876.641877; PETSc adaptdsp.c"
_SOD06 = "Soderlind & Wang 2006, doi 10.1016/j.cam.2005.03.008; PETSc adaptdsp.c"
_GUS91 = "Gustafsson 1991, doi 10.1145/210232.210242"
_GUS94 = "Gustafsson 1994, doi 10.1145/198429.198437"
_ARK = "SUNDIALS ARKODE, sunadaptcontroller_soderlind.c"


def _g(
    b1: float, b2: float = 0.0, b3: float = 0.0, a2: float = 0.0, a3: float = 0.0, **rest: float
) -> dict[str, float]:
    return {"b1": b1, "b2": b2, "b3": b3, "a2": a2, "a3": a3, **rest}


_PC11 = _g(2.0, -1.0, 0.0, -1.0)

#: name: (rules, gains and changes, what it is, source)
LAWS: dict[str, tuple[str, dict[str, float], str, str]] = {
    "i": ("plain", _g(1.0), "elementary (deadbeat) I law", "Hairer, Norsett & Wanner I, II.4"),
    "pi30": ("petsc", _g(1 / 3), "I law with gain 1/3 (H110)", _SOD03),
    "pi42": ("petsc", _g(3 / 5, -1 / 5), "PI law; the default filter of PETSc DSP", _SOD06),
    "pi33": ("petsc", _g(2 / 3, -1 / 3), "PI law", _SOD06),
    "pi34": ("julia", _g(0.7, -0.4, fmax_first=10.0), "Gustafsson's PI law, .7/.4", _GUS91 + "; OrdinaryDiffEqCore"),
    "dopri5_pi": ("hairer", _g(0.85, -0.2), "dopri5.f with beta = .04 (k = 5)", "Hairer & Wanner, dopri5.f"),
    "sundials_pi": ("sundials", _g(0.8, -0.31), "ARKODE PI", _ARK),
    "sundials_pid": ("sundials", _g(0.58, -0.21, 0.1), "ARKODE PID", _ARK),
    "expgus": ("sundials", _g(0.367 + 0.268, -0.268), "ARKODE explicit Gustafsson", _ARK + "; " + _GUS91),
    "impgus": ("sundials", _g(0.98 + 0.95, -0.95, 0.0, -1.0), "ARKODE implicit Gustafsson", _ARK + "; " + _GUS94),
    "pc11": ("petsc", _PC11, "predictive (double deadbeat)", _GUS94 + "; PETSc adaptdsp.c"),
    "pc47": ("petsc", _g(1.1, -0.7, 0.0, -1.0), "predictive", _GUS94 + "; PETSc adaptdsp.c"),
    "pc36": ("petsc", _g(0.9, -0.6, 0.0, -1.0), "predictive", _GUS94 + "; PETSc adaptdsp.c"),
    "h0211": ("petsc", _g(1 / 2, 1 / 2, 0.0, 1 / 2), "deadbeat filter of order 1", _SOD03),
    "h211b": ("petsc", _g(1 / 4, 1 / 4, 0.0, 1 / 4), "filter of order 1, b = 4", _SOD03),
    "h211pi": ("petsc", _g(1 / 6, 1 / 6), "PI filter of order 1", _SOD03),
    "h0312": ("petsc", _g(1 / 4, 1 / 2, 1 / 4, 3 / 4, 1 / 4), "deadbeat filter of order 2", _SOD03),
    "h312b": ("petsc", _g(1 / 8, 2 / 8, 1 / 8, 3 / 8, 1 / 8), "filter of order 2, b = 8", _SOD03),
    "h312pid": ("petsc", _g(1 / 18, 1 / 9, 1 / 18), "PID filter of order 2", _SOD03),
    "h0321": ("sundials", _g(5 / 4, 1 / 2, -3 / 4, -1 / 4, -3 / 4), "deadbeat predictive filter", _SOD03 + "; " + _ARK),
    "h321": ("petsc", _g(1 / 3, 1 / 18, -5 / 18, -5 / 6, -1 / 6), "predictive filter of order 1", _SOD03),
    "predictive": ("radau5", _PC11, "min(I, PC11) with the Newton limiter", _GUS94 + "; Hairer & Wanner II, IV.8"),
    "radau5": (
        "radau5", {**_PC11, "band_lo": 1.0, "band_hi": 1.2, "band_rate": 1e-3},
        "radau5.f: predictive, keeps h (and the LU) where the factor is in [1, 1.2]",
        "Hairer & Wanner, radau5.f",
    ),
    "rodas": (
        "radau5", {**_PC11, "newton_m": 0.0, "fmax": 6.0, "accept_err": 1.0, "reject_first": 1.0},
        "rodas.f: predictive, no Newton iteration", "Hairer & Wanner, rodas.f",
    ),
    "scipy_radau": (
        "radau5",
        {**_PC11, "fmax": 10.0, "accept_err": 1.0, "err_floor": 1e-300, "newton_m": 6.0, "newton_all": 1.0,
         "reject_own": 1.0, "reject_first": 1.0, "after_max": math.inf, "band_lo": 0.0,
         "band_hi": math.nextafter(1.2, 1.0), "band_rate": 1e-3, "reject_max": 1.0},
        "SciPy's Radau: predictive, keeps h where the factor is below 1.2", "scipy/integrate/_ivp/radau.py",
    ),
    # ours: holds the size until the factor is large, as codes of several steps do, with SciPy's Newton limiter
    "multistep": (
        "plain",
        _g(1.0, safety=0.8, fmax=4.0, newton_m=4.0, newton_all=1.0, nonfinite=0.5, band_lo=0.8, band_hi=1.5,
           jac_rate=0.2, lu_keep=1.4),
        "ours: I law for methods of several steps, keeps h where the factor is in [.8, 1.5]",
        "limiter: scipy/integrate/_ivp/bdf.py; band: Hindmarsh et al. 2005, doi 10.1145/1089014.1089020",
    ),
    # defaults of hosts
    "scipy": ("scipy", _g(1.0), "SciPy's RK23, RK45, DOP853", "scipy/integrate/_ivp/rk.py"),
    "torchdiffeq": (
        "plain", _g(1.0, keep_min=1.0, after_max=math.inf),
        "torchdiffeq: an accepted step never shrinks the next one", "torchdiffeq/_impl/misc.py",
    ),
    "diffrax": (
        "scipy", _g(1.0, keep_min=1.0, after_max=math.inf, reject_max=0.9),
        "diffrax PIDController's defaults (pure I); an accepted step never shrinks the next one",
        "diffrax/_step_size_controller/pid.py",
    ),
    "torchode": (
        "scipy", _g(1.0, after_max=math.inf, err_min=1e-38), "torchode IntegralController",
        "torchode/step_size_controllers.py",
    ),
    "julia_pi": (
        "julia", _g(0.7, -0.4), "OrdinaryDiffEq.jl's default PIController", "OrdinaryDiffEqCore controllers.jl",
    ),
    "dop853": (
        "hairer", _g(1.0, fmin=0.333, fmax=6.0), "dop853.f (beta = 0: an I law)", "Hairer & Wanner, dop853.f",
    ),
    "arkode": ("sundials", _g(5 / 4, 1 / 2, -3 / 4, -1 / 4, -3 / 4), "ARKODE's Soderlind module (H0321)", _ARK),
    # ours: the simplest of what a search over many systems found alike (docs/universal.md)
    "universal_law": (
        "plain", _g(0.8, -0.25, safety=0.8, accept_err=1.2, fmin=0.1, fmax=20.0, fmax_first=1e4),
        "ours: PI law, the cheapest at equal error over 50 systems; explicit methods of orders 3 to 8",
        "docs/universal.md",
    ),
    "petsc_dsp": ("petsc", _g(3 / 5, -1 / 5), "PETSc TSADAPTDSP's default (PI42)", "PETSc adaptdsp.c"),
}  # fmt: skip
