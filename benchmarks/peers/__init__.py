"""What `peers_ensemble.py` and `peers_single.py` share: problems, references, the libraries and the clock."""
