"""Latency-vs-timestep studies: one simulation per image and variant gives every time step, its cost and errors.

variants -> traces (one image, all steps) -> cells (all images of a variant, scored) -> figures, tables, the page.
"""
