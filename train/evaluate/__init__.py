"""Controllers measured: work at matched error against the best classical laws, with tables and pictures."""
