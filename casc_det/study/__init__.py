"""Latency-vs-timestep studies: one simulation per picture and variant gives every time step, its cost and errors.

variants -> traces (one picture, all steps) -> cells (all pictures of a variant, scored) -> figures, tables, the page.
"""
