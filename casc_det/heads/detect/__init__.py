"""Everything that makes a detector a detector.

decode      the head: from the readout maps of a batch to the detections of each image
settings    which boxes are detections
detections  the one form of detections, and whether two answers are the same
boxes       areas, overlaps, non-maximum suppression
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from casc_det.heads.detect.decode import DetectHead, Levels


def head(network: "Levels") -> "DetectHead":
    """The head of a detector."""
    from casc_det.heads.detect.decode import DetectHead  # here: it imports torch

    return DetectHead.of(network)
