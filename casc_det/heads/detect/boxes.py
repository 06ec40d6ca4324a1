"""Areas and overlaps of boxes, (N, 4) xyxy.

IoU = intersection / (area + area of the other - intersection); without extent, 0.
"""

import numpy as np


def areas(boxes: np.ndarray) -> np.ndarray:
    """Area of each box, (N,)."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU of every pair, (N, M), in the dtype of the boxes."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    both = (high - low).clip(min=0).prod(2)
    with np.errstate(invalid="ignore"):  # boxes without end
        union = areas(boxes)[:, None] + areas(others)[None, :] - both
        return np.divide(both, union, out=np.zeros_like(both), where=union > 0)
