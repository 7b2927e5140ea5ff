"""Singly diagonally implicit Runge-Kutta methods with an explicit first stage."""
