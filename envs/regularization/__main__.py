"""`python -m stepsmith.envs.regularization`: the file of constant strengths, see `grid`."""

from .grid import main

main()
