"""`python -m stepsmith.envs.neural_ode`: write the family's file anew; with `--measure`, print what a warm start and
even steps save on the test split."""

from __future__ import annotations

import sys

if sys.argv[1:] == ["--measure"]:
    from .measure import main

    main()
elif sys.argv[1:]:
    sys.exit("python -m stepsmith.envs.neural_ode [--measure]")
else:
    from .snapshots import write

    write()
