"""Controllers of portfolios: a law for each method, and a rule that says with which of them the next step is taken."""
