"""Files of images of noise."""

import numpy as np
from PIL import Image


def noise(path, mode="RGB", size=(40, 30)):
    """An image of noise of a mode of Pillow's and a size (width, height); its path."""
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    image = (
        Image.fromarray(values, "RGBA") if mode != "I;16" else Image.fromarray(values[..., 0].astype(np.uint16) * 257)
    )
    (image if mode == "I;16" else image.convert(mode)).save(path)
    return path
