"""The solve loop for one problem, for ensembles on the CPU and on CUDA, and what it costs."""
