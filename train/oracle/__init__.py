"""The oracle: the best step sequences of an instance, chosen with its reference in hand."""

from .oracle import NODES, PRICES, RTOLS, Oracle, OracleCurve

__all__ = ["NODES", "PRICES", "RTOLS", "Oracle", "OracleCurve"]
