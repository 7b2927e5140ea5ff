"""Embedded explicit Runge-Kutta pairs."""
