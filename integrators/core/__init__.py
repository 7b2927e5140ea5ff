"""What passes between the rooms: the attempt record, the controller contract, and what runs a controller; nothing else
of ours is imported.

    record      slots of the attempt record
    contract    what a controller is: `Controller`, its phases `Lane` and `Dense`, slots of its state and of its answer
    binding     `bind`: one formula, many array libraries
    namespaces  those libraries: NumPy for rows, NumPy's scalars, torch
    dense       a network's layer in its three forms: over arrays, written out, as source
    runner      a controller for many lanes at once
    names       unknown names answered with the nearest
    errors      errors and warnings that several rooms raise
"""
