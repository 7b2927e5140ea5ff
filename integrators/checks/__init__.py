"""Whether what a caller gave is right: right-hand sides, Jacobians, sparsity patterns."""
