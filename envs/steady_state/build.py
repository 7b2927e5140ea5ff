"""The compiled lanes of `stepsmith/SteadyState-v0`: the generated module of `kernel`, with the baseline's law in it."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import numpy as np

from ...controllers.laws.law import Law
from ...controllers.resolve import controller
from ...integrators.compile.cache import load_module
from ...integrators.core import contract
from ...integrators.kernels import layout, templates
from ...integrators.kernels.build import known, phase_list
from ...integrators.kernels.environment import splitmix
from ...integrators.methods import tableaus
from ...integrators.methods.explicit.tableau import ExplicitTableau
from . import kernel as template

#: of `neural.steady_state`: its method and its law
METHOD, LAW = "tsit5", "pi34"

_HEAD = """import math
import numpy as np
from numba import njit as _njit
import stepsmith.envs.steady_state.places as at
import stepsmith.integrators.core.record as rec
from stepsmith.integrators.compile.inner import FASTMATH as _FASTMATH, piece as _piece
from stepsmith.integrators.compile.vecmath import exp, fabs, log, maximum, minimum, sqrt, tanh, where
"""


def law() -> Law:
    """The baseline's law."""
    return controller(LAW, None, METHOD)


def tableau() -> ExplicitTableau:
    """The method's coefficients."""
    return tableaus.get(METHOD)


def coefficients() -> tuple[np.ndarray, np.ndarray]:
    """The stages' coefficients (STAGES, STAGES) and the error's (STAGES,)."""
    found = tableau()
    return found.A, found.E


@functools.cache
def module() -> ModuleType:
    """The compiled functions of `kernel`, by their names."""
    one, objects = law(), dict[str, Any]()
    calls = phase_list(one.phases, objects, one.n_state, known(one))
    decide = "@_piece\ndef decide(params, state, record, out):\n"
    decide += "".join(f"    {name}(params, state, record, out)\n" for _, name in calls)
    constants = templates.constants(
        ACCEPT=contract.ACCEPT, LOG_FACTOR=contract.LOG_FACTOR, RUNNING=layout.RUNNING, SUCCESS=layout.SUCCESS,
        MAX_STEPS=layout.MAX_STEPS, UNDERFLOW=layout.UNDERFLOW, NON_FINITE=layout.NON_FINITE,
    )  # fmt: skip
    return load_module(_HEAD + constants + decide + templates.text(splitmix, template), objects)
