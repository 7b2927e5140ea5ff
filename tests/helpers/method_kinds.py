"""Names of the methods that ship, by kind, out of the registry: a new method is tested where its kind is."""

from stepsmith.integrators import methods
from stepsmith.integrators.core import record
from stepsmith.integrators.methods import tableaus
from stepsmith.integrators.methods.esdirk.tableau import EsdirkTableau
from stepsmith.integrators.methods.places import FOREIGN, PLACES
from stepsmith.integrators.methods.rosenbrock.tableau import RosenbrockTableau

#: pairs of `test_more_pairs`
MORE = ("vern6", "vern7", "vern8", "vern9", "bs54", "fehlberg45")
#: explicit Runge-Kutta pairs; `MORE` and those of `FOREIGN` are run by the same code, and have tests of their own
EXPLICIT = tuple(name for name in tableaus.NAMES if name not in (*MORE, *FOREIGN))
#: methods for stiff problems
IMPLICIT = tableaus.IMPLICIT
ROSENBROCK = tuple(name for name in IMPLICIT if isinstance(tableaus.implicit(name), RosenbrockTableau))
ESDIRK = tuple(name for name in IMPLICIT if isinstance(tableaus.implicit(name), EsdirkTableau))
#: implicit methods that solve for their stages by Newton's iteration, and report its rate
NEWTON = tuple(name for name in IMPLICIT if record.NEWTON_RATE in methods.get(name).fills)
#: methods for N-body problems
NBODY = tuple(name for name, place in PLACES.items() if place == "nbody")
