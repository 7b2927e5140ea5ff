"""`python -m stepsmith.envs.steady_state --measure`: what simple rules come to on the test split."""

from __future__ import annotations

import sys

if sys.argv[1:] != ["--measure"]:
    sys.exit("python -m stepsmith.envs.steady_state --measure")

from .measure import main

main()
