"""Pieces of methods that solve linear systems: Jacobians, factorisations, Newton's iteration, stages."""
