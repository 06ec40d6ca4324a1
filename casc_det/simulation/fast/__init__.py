"""The fast engine: layer by layer over the time steps of a chunk."""
