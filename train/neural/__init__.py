"""Training neural differential equations on real data: models, one loop, one config a task, and the comparison of
regularisers.
"""
