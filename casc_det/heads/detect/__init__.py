"""Boxes from the readouts of a detector."""
