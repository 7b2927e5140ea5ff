"""SDEs in torch."""
