"""Everything that makes a detector a detector.

decode      the head: from the readout maps of a batch to the detections of each image
settings    which boxes are detections
detections  the one form of detections, and whether two answers are the same
boxes       areas, overlaps, non-maximum suppression
"""
