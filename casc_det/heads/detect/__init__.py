"""Everything that makes a detector a detector.

head        from the readout of a batch to the detections of each image
settings    which boxes are detections
decode, nms readout maps -> boxes and scores -> detections
detections  the one form of detections
boxes, same areas and overlaps; whether two answers are the same
"""
