"""Workers on this machine or on many: `cluster("processes:4")`, `cluster("ray")`, `cluster("ray://head:10001")`."""

from .cluster import cluster

__all__ = ["cluster"]
