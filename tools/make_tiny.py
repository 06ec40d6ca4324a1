"""Make the synthetic data set of data/tiny.yaml: discs, squares and triangles on a noisy background, YOLO layout.

python tools/make_tiny.py [out=data/tiny] [train=64] [val=16] [size=160] [seed=0]
"""

import sys
from pathlib import Path

import cv2
import numpy as np

from casc_det.cli.parsing import script_options


def make_image(rng: np.random.Generator, size: int) -> tuple[np.ndarray, list[tuple]]:
    """A BGR image and its objects as (class, x, y, width, height) in 0..1."""
    base = rng.integers(60, 196, 3)
    image = np.clip(base + rng.normal(0, 12, (size, size, 3)), 0, 255).astype(np.uint8)
    objects = []
    for _ in range(rng.integers(1, 4)):
        label, radius = int(rng.integers(0, 3)), int(rng.integers(size // 10, size // 4))
        x, y = (int(v) for v in rng.integers(radius, size - radius, 2))
        colour = tuple(int(v) for v in (base + rng.choice([-1, 1], 3) * rng.integers(50, 60, 3)).clip(0, 255))
        if label == 0:
            cv2.circle(image, (x, y), radius, colour, -1, cv2.LINE_AA)
        elif label == 1:
            cv2.rectangle(image, (x - radius, y - radius), (x + radius, y + radius), colour, -1)
        else:
            corners = np.array([[x, y - radius], [x - radius, y + radius], [x + radius, y + radius]])
            cv2.fillPoly(image, [corners], colour, cv2.LINE_AA)
        objects.append((label, x / size, y / size, 2 * radius / size, 2 * radius / size))
    return image, objects


def make_tiny(out: Path, train: int = 64, val: int = 16, size: int = 160, seed: int = 0) -> Path:
    """Write the data set below `out`; the same arguments give the same files."""
    rng = np.random.default_rng(seed)
    for split, count in (("train", train), ("val", val)):
        for folder in ("images", "labels"):
            (out / folder / split).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            image, objects = make_image(rng, size)
            cv2.imwrite(str(out / "images" / split / f"{i:04d}.png"), image)
            lines = [f"{label} " + " ".join(f"{v:.6f}" for v in box) for label, *box in objects]
            (out / "labels" / split / f"{i:04d}.txt").write_text("\n".join(lines) + "\n")
    return out


if __name__ == "__main__":
    options = {"out": "data/tiny"} | script_options(sys.argv[1:], __doc__)
    print(f"written to {make_tiny(Path(options.pop('out')), **options)}")
