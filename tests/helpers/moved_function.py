"""Solve a stiff family whose right-hand side uses arrays: python moved_function.py MODULE, a module here or a path."""

import sys
import warnings

import stepsmith as ss
from stepsmith.integrators import problems

warnings.simplefilter("ignore")
family = problems.family(sys.argv[1])
assert family.reference(family.split("test", 2)).ok.all()
sol = ss.solve(family.canonical(), method="rodas5p")
assert sol.success
print(sol.stats.nfev, sol.y[-1].tolist())
