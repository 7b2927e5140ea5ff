"""The search of a closed-form controller: which few features, which products of two, which numbers."""
