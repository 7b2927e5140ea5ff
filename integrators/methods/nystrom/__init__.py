"""Runge-Kutta-Nystrom pairs for second-order systems, one file a pair."""
