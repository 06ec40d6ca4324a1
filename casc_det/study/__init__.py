"""Latency-vs-timestep studies: one simulation per picture and variant gives every time step, its cost and errors.

variants -> traces (one picture, all steps) -> cells (all pictures of a variant, scored) -> figures, tables, the page.

`from casc_det.study import study` is all that `casc-det study` does; see `casc_det.study.run.study`.
"""

__all__ = ["study"]


def __getattr__(name: str):  # the rest of the package is imported when it is used
    if name == "study":
        from casc_det.study.run import study

        return study
    raise AttributeError(f"module 'casc_det.study' has no attribute '{name}'")
