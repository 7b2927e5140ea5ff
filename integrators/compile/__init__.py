"""From functions and generated source to machine code: keys, the kernel cache, lane views, the tracer, elementary
functions.
"""
