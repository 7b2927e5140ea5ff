"""The universal law and controller: learnt over many systems at once, for problems that none of them is."""
