"""Modules that have moved: `import` finds them under their old names too, and warns.

A finder behind all others: a name that nothing else knows, and that stands in `MOVED`, gives the module that is now
called otherwise, the same object.  Pickles, user's scripts and generated modules that hold an old name go on working.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

PACKAGE = __name__.partition(".")[0]

#: old name: new name, counted from the package; what lies below a package moves with it
MOVED = {
    "integrators.arrays_reached": "integrators.checks.arrays_reached",
    "integrators.jacobian_check": "integrators.checks.jacobian_check",
    "integrators.plain": "integrators.checks.plain",
    "integrators.rhs_check": "integrators.checks.rhs_check",
    "integrators.sparsity_check": "integrators.checks.sparsity_check",
    "integrators.band_matrix": "integrators.compile.band_matrix",
    "integrators.cache": "integrators.compile.cache",
    "integrators.digest": "integrators.compile.digest",
    "integrators.lane_matrix": "integrators.compile.lane_matrix",
    "integrators.lanes": "integrators.compile.lanes",
    "integrators.lift": "integrators.compile.lift",
    "integrators.noted": "integrators.compile.noted",
    "integrators.recompile": "integrators.compile.recompile",
    "integrators.sources": "integrators.compile.sources",
    "integrators.sparse_matrix": "integrators.compile.sparse_matrix",
    "integrators.trace": "integrators.compile.trace",
    "integrators.vecmath": "integrators.compile.vecmath",
    "controllers.contract": "integrators.core.contract",
    "controllers.namespaces": "integrators.core.namespaces",
    "integrators.binding": "integrators.core.binding",
    "integrators.names": "integrators.core.names",
    "integrators.neural.controller": "integrators.core.runner",
    "integrators.options": "integrators.core.options",
    "integrators.reading": "integrators.core.reading",
    "integrators.record": "integrators.core.record",
    "integrators.costs": "integrators.engine.costs",
    "integrators.cuda": "integrators.engine.cuda",
    "integrators.ensemble": "integrators.engine.ensemble",
    "integrators.errors": "integrators.engine.explained",
    "integrators.measure": "integrators.engine.measure",
    "integrators.pace": "integrators.engine.pace",
    "integrators.solve": "integrators.engine.solve",
    "integrators.trained_method": "integrators.engine.trained_method",
    "integrators.kernels.env": "integrators.kernels.environment.env",
    "integrators.kernels.env_source": "integrators.kernels.environment.env_source",
    "integrators.kernels.paper_env": "integrators.kernels.environment.paper_env",
    "integrators.kernels.propagate": "integrators.kernels.environment.propagate",
    "integrators.kernels.splitmix": "integrators.kernels.environment.splitmix",
    "integrators.kernels.esdirk": "integrators.kernels.implicit.esdirk",
    "integrators.kernels.jacobian": "integrators.kernels.implicit.jacobian",
    "integrators.kernels.linear": "integrators.kernels.implicit.linear",
    "integrators.kernels.newton": "integrators.kernels.implicit.newton",
    "integrators.kernels.radau": "integrators.kernels.implicit.radau",
    "integrators.kernels.rosenbrock": "integrators.kernels.implicit.rosenbrock",
    "integrators.kernels.sparse_linear": "integrators.kernels.implicit.sparse_linear",
    "integrators.kernels.composition": "integrators.kernels.nbody.composition",
    "integrators.kernels.hermite": "integrators.kernels.nbody.hermite",
    "integrators.kernels.pairs": "integrators.kernels.nbody.pairs",
    "integrators.tableaus": "integrators.methods.tableaus",
    "integrators.tableaus.checks": "integrators.methods.checks",
    "integrators.tableaus.rational": "integrators.methods.rational",
    "integrators.tableaus.trees": "integrators.methods.trees",
    "integrators.tableaus.esdirk": "integrators.methods.esdirk.tableau",
    "integrators.tableaus.esdirk43": "integrators.methods.esdirk.esdirk43",
    "integrators.tableaus.kvaerno5": "integrators.methods.esdirk.kvaerno5",
    "integrators.tableaus.bs32": "integrators.methods.explicit.bs32",
    "integrators.tableaus.dop853": "integrators.methods.explicit.dop853",
    "integrators.tableaus.dopri5": "integrators.methods.explicit.dopri5",
    "integrators.tableaus.tableau": "integrators.methods.explicit.tableau",
    "integrators.tableaus.tsit5": "integrators.methods.explicit.tsit5",
    "integrators.tableaus.radau5": "integrators.methods.radau.radau5",
    "integrators.tableaus.rodas5p": "integrators.methods.rosenbrock.rodas5p",
    "integrators.tableaus.ros34pw2": "integrators.methods.rosenbrock.ros34pw2",
    "integrators.tableaus.ros3prw": "integrators.methods.rosenbrock.ros3prw",
    "integrators.tableaus.rosenbrock": "integrators.methods.rosenbrock.tableau",
    "integrators.families": "integrators.problems.families",
    "integrators.problem": "integrators.problems.problem",
    "integrators.sparse_factors": "integrators.problems.sparse_factors",
    "integrators.sparsity": "integrators.problems.sparsity",
    "integrators.suites": "integrators.problems.suites",
    "integrators.problems.brusselator_1d": "integrators.problems.lines.brusselator_1d",
    "integrators.problems.gray_scott_1d": "integrators.problems.lines.gray_scott_1d",
    "integrators.problems.medical_akzo": "integrators.problems.lines.medical_akzo",
    "integrators.problems._nbody": "integrators.problems.nbody.newtonian",
    "integrators.problems.kepler": "integrators.problems.nbody.kepler",
    "integrators.problems.pleiades": "integrators.problems.nbody.pleiades",
    "integrators.problems.plummer": "integrators.problems.nbody.plummer",
    "integrators.problems.three_body": "integrators.problems.nbody.three_body",
    "integrators.problems.three_body_paper": "integrators.problems.nbody.three_body_paper",
    "integrators.problems.arenstorf": "integrators.problems.nonstiff.arenstorf",
    "integrators.problems.brusselator": "integrators.problems.nonstiff.brusselator",
    "integrators.problems.double_pendulum": "integrators.problems.nonstiff.double_pendulum",
    "integrators.problems.fitzhugh_nagumo": "integrators.problems.nonstiff.fitzhugh_nagumo",
    "integrators.problems.henon_heiles": "integrators.problems.nonstiff.henon_heiles",
    "integrators.problems.lorenz": "integrators.problems.nonstiff.lorenz",
    "integrators.problems.lotka_volterra": "integrators.problems.nonstiff.lotka_volterra",
    "integrators.problems.neural_field": "integrators.problems.nonstiff.neural_field",
    "integrators.problems.vanderpol": "integrators.problems.nonstiff.vanderpol",
    "integrators.problems._stiff": "integrators.problems.stiff.shared",
    "integrators.problems.chua": "integrators.problems.stiff.chua",
    "integrators.problems.e5": "integrators.problems.stiff.e5",
    "integrators.problems.flame": "integrators.problems.stiff.flame",
    "integrators.problems.friction": "integrators.problems.stiff.friction",
    "integrators.problems.hires": "integrators.problems.stiff.hires",
    "integrators.problems.hodgkin_huxley": "integrators.problems.stiff.hodgkin_huxley",
    "integrators.problems.ignition": "integrators.problems.stiff.ignition",
    "integrators.problems.orego": "integrators.problems.stiff.orego",
    "integrators.problems.pollu": "integrators.problems.stiff.pollu",
    "integrators.problems.ring_modulator": "integrators.problems.stiff.ring_modulator",
    "integrators.problems.rober": "integrators.problems.stiff.rober",
    "integrators.problems.steppo_brusselator": "integrators.problems.stiff.steppo_brusselator",
    "integrators.problems.steppo_decay": "integrators.problems.stiff.steppo_decay",
    "integrators.problems.steppo_vdpol": "integrators.problems.stiff.steppo_vdpol",
    "integrators.problems.vdpol_stiff": "integrators.problems.stiff.vdpol_stiff",
    "integrators.sensitivity": "integrators.reference.sensitivity",
    "integrators.stiff_reference": "integrators.reference.radau",
    "integrators.stiff_reference_kernel": "integrators.reference.radau_kernel",
    "controllers.formula": "controllers.laws.formula",
    "controllers.nbody": "controllers.laws.nbody",
    "controllers.registry": "controllers.laws.registry",
    "controllers.table": "controllers.laws.table",
    "controllers.search": "controllers.laws.search",
    "controllers.tuned": "controllers.laws.tuned",
    "controllers.decision": "controllers.learned.decision",
    "controllers.features": "controllers.learned.features",
    "controllers.observation": "controllers.learned.observation",
    "controllers.strength": "integrators.neural.strength",
    "train.listing": "train.cli.listing",
    "train.demo": "train.cli.demo",
    "train.demo_report": "train.cli.demo_report",
    "train.checkpoint": "train.run.checkpoint",
    "train.progress": "train.run.progress",
    "train.provenance": "train.run.provenance",
    "train.refused": "train.run.refused",
    "train.rundir": "train.run.rundir",
    "train.runfiles": "train.run.runfiles",
    "train.settings": "train.config.settings",
    "train.resolved": "train.config.resolved",
    "train.reading": "train.config.reading",
    "train.sb3": "train.algorithms.sb3",
    "train.sb3_state": "train.algorithms.sb3_state",
    "train.evolution": "train.algorithms.evolution",
    "train.es_state": "train.algorithms.es_state",
    "train.validate": "train.algorithms.validate",
    "train.compare": "train.evaluate.compare",
    "train.contestants": "train.evaluate.contestants",
    "train.curves": "train.evaluate.curves",
    "train.headline": "train.evaluate.headline",
    "train.metric": "train.evaluate.metric",
    "train.paper": "train.evaluate.paper",
    "train.picture": "train.evaluate.picture",
    "train.report": "train.evaluate.report",
    "train.splits": "train.evaluate.splits",
    "train.suite_compare": "train.evaluate.suite_compare",
    "train.suite_picture": "train.evaluate.suite_picture",
    "train.suite_report": "train.evaluate.suite_report",
    "train.sweep": "train.tune.sweep",
    "train.sweep_space": "train.tune.sweep_space",
    "train.oracle_kernel": "train.oracle.kernel",
    "train.neural_demo": "train.neural.digits_field",
    "train.trained_field": "train.neural.trained_field",
    "train.neural_tasks": "train.neural",
}

#: old names that documents give to users, and that stay: no warning
KEPT = frozenset({"integrators.vecmath", "integrators.tableaus", "integrators.problem", "integrators.families"})


def new_name(old: str) -> str | None:
    """What the module `old`, a full name, is called now; None where it has not moved."""
    top, _, rest = old.partition(".")
    if top != PACKAGE:
        return None
    below = ""
    while rest:
        if rest in MOVED:
            return f"{PACKAGE}.{MOVED[rest]}{below}"
        rest, _, last = rest.rpartition(".")
        below = f".{last}{below}"
    return None


class _Same(Loader):
    """Loads a module by giving another one, which stays as it is."""

    def __init__(self, module: ModuleType) -> None:
        self.module, self.spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # which the import system has replaced


class _Finder(MetaPathFinder):
    def find_spec(self, fullname: str, path: Sequence[str] | None, target: Any = None) -> ModuleSpec | None:
        new = new_name(fullname)
        if new is None:
            return None
        if fullname.partition(".")[2] not in KEPT:
            warnings.warn(f"{fullname} has moved to {new}", DeprecationWarning, stacklevel=2)
        return importlib.util.spec_from_loader(fullname, _Same(importlib.import_module(new)))


def attributes(package: str) -> Callable[[str], ModuleType]:
    """The `__getattr__` of a package: modules that were in it are its attributes still."""

    def look_up(name: str) -> ModuleType:
        if new_name(f"{package}.{name}") is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return importlib.import_module(f"{package}.{name}")

    return look_up


def install() -> None:
    """Let `import` find modules that have moved; once a process, however often it is called."""
    if not any(type(finder).__qualname__ == _Finder.__qualname__ for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
