"""`python -m stepsmith.envs.steady_state --measure [POLICY.zip ...]`: rules and policies of PPO on the test split."""

from __future__ import annotations

import sys

if sys.argv[1:2] != ["--measure"]:
    sys.exit("python -m stepsmith.envs.steady_state --measure [POLICY.zip ...]")

from .measure import main

main(sys.argv[2:])
