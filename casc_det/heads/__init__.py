"""What becomes of the readout: one folder for each task."""
