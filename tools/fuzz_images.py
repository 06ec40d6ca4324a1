"""Mutated image and video files for `fuzz.py`, fed to `SpikingYOLO.predict`, alone or beside a file that is sound."""

import io
import logging
import random
import struct
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
from fuzz_models import small_detector
from PIL import Image

from casc_det.api import SpikingYOLO

STILL = {
    "a.jpg": ("RGB", {"quality": 90}), "progressive.jpg": ("RGB", {"progressive": True}), "grey.jpg": ("L", {}),
    "cmyk.jpeg": ("CMYK", {}), "a.png": ("RGB", {}), "alpha.png": ("RGBA", {}), "palette.png": ("P", {}),
    "deep.png": ("I;16", {}), "bits.png": ("1", {}), "a.gif": ("P", {}), "a.webp": ("RGB", {}),
    "lossless.webp": ("RGBA", {"lossless": True}), "a.bmp": ("RGB", {}), "a.tiff": ("RGB", {}),
    "lzw.tif": ("RGB", {"compression": "tiff_lzw"}), "a.avif": ("RGB", {}), "a.jp2": ("RGB", {}),
}  # fmt: skip
MOVING = {"moving.gif": {}, "moving.webp": {}, "moving.png": {}}
VIDEOS = {"a.avi": "MJPG", "a.mp4": "mp4v"}
SIGNALS = (b"\xff\xd8", b"\xff\xda", b"IHDR", b"IDAT", b"IEND", b"RIFF", b"VP8 ", b"moov", b"mdat", b"idx1", b"II*\x00")


def drawing(chance: random.Random, width: int = 48, height: int = 36) -> np.ndarray:
    """A small image with edges and noise, (height, width, 3) uint8."""
    noise = np.random.default_rng(chance.getrandbits(32))
    image = noise.integers(0, 60, (height, width, 3), dtype=np.uint8)
    image[8:24, 10:30] = noise.integers(100, 255, 3)
    return image


def write_base(folder: Path) -> None:
    """One sound file of each kind that this machine can write."""
    chance = random.Random(0)
    for name, (mode, settings) in STILL.items():
        image = Image.fromarray(drawing(chance))
        image = (
            Image.fromarray(drawing(chance)[..., 0].astype(np.uint16) * 200) if mode == "I;16" else image.convert(mode)
        )
        _save(image, folder / name, settings)
    frames = [Image.fromarray(drawing(chance)) for _ in range(4)]
    for name in MOVING:
        _save(frames[0], folder / name, {"save_all": True, "append_images": frames[1:], "duration": 40})
    for name, code in VIDEOS.items():
        with tempfile.TemporaryDirectory() as other:
            file = Path(other) / name
            video = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*code), 10, (48, 36))
            for _ in range(6):
                video.write(drawing(chance))
            video.release()
            if file.is_file() and file.stat().st_size:
                (folder / name).write_bytes(file.read_bytes())


def _save(image: Image.Image, file: Path, settings: dict) -> None:
    content = io.BytesIO()
    try:
        image.save(
            content, {".jp2": "JPEG2000"}.get(file.suffix, Image.registered_extensions()[file.suffix]), **settings
        )
    except (KeyError, OSError, ValueError):  # a codec that is not there
        return
    file.write_bytes(content.getvalue())


class Kind:
    """Cases of mutated images; see `fuzz.py`."""

    def __init__(self, folder: Path):
        logging.getLogger("ultralytics").setLevel(logging.CRITICAL)
        if not (folder / "a.jpg").exists():
            write_base(folder)
        self.base = {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.suffix != ".safetensors"}
        self.sound = self.base["a.png"]
        self.model = SpikingYOLO(small_detector("add", seed=3))
        for name in ("a.jpg", "a.avi"):
            self.model.predict(folder / name, imgsz=32)

    def make(self, chance: random.Random, folder: Path) -> str:
        name = chance.choice(list(self.base))
        content, done = bytearray(self.base[name]), []
        for _ in range(chance.choice((1, 1, 2, 4))):
            content, change = mutate(content, chance, self.base)
            done.append(change)
        file = chance.choice((name, name, name, f"x{chance.choice(list(self.base))}"))
        (folder / file).write_bytes(content)
        if chance.random() < 0.2:
            (folder / "sound.png").write_bytes(self.sound)
        return f"{name} as {file}: {', '.join(done)}"

    def run(self, chance: random.Random, folder: Path) -> tuple[str, str]:
        files = sorted(folder.iterdir())
        source = folder if len(files) > 1 else files[0]
        settings = {"imgsz": chance.choice((32, 64)), "conf": 0.05, "timesteps": chance.choice(("auto", 6))}
        count = 0
        for result in self.model.predict(source, stream=True, **settings):
            count += 1
            if not bool(torch.isfinite(torch.as_tensor(result.boxes.data)).all()):
                return "nan", f"result {count}"
            if count == 200:
                return "hang", "more than 200 frames of a file of six"
        if count == 1 and settings["timesteps"] == "auto" and len(files) == 1:
            twin = self.model.ann(source, conf=0.05, imgsz=settings["imgsz"])
            if not torch.equal(torch.as_tensor(twin.boxes.data), torch.as_tensor(result.boxes.data)):
                return "inexact", "boxes at rest"
        return "answered", f"{count} images"


def mutate(content: bytearray, chance: random.Random, others: dict[str, bytes]) -> tuple[bytearray, str]:
    """One change of a file, and what it was."""
    content, kind = bytearray(content) or bytearray(b"\0"), chance.randrange(9)
    size = len(content)
    match kind:
        case 0:
            for _ in range(chance.choice((1, 4, 64))):
                content[chance.randrange(size)] ^= 1 << chance.randrange(8)
        case 1:
            for _ in range(chance.choice((1, 2, 8))):
                content[chance.randrange(min(size, 64))] = chance.randrange(256)
        case 2:
            del content[chance.randrange(size) :]
        case 3:
            content += chance.randbytes(chance.choice((1, 100, 5000)))
        case 4:
            start = chance.randrange(size)
            del content[start : start + chance.choice((1, 4, 100))]
        case 5:
            start = chance.randrange(size)
            content[start:start] = content[start : start + chance.choice((1, 16, 400))] * chance.choice((1, 3))
        case 6:
            number = struct.pack(
                chance.choice(("<", ">")) + "I", chance.choice((0, 1, 65535, 2**16, 2**31 - 1, 2**32 - 1))
            )
            at = chance.randrange(min(size, chance.choice((40, 400, size))))
            content[at : at + 4] = number[: chance.choice((2, 4))]
        case 7:
            other = chance.choice(list(others.values()))
            content = content[: chance.randrange(size)] + other[chance.randrange(len(other)) :]
        case 8:
            at = content.find(chance.choice(SIGNALS))
            if at >= 0:
                content[at : at + 8] = chance.randbytes(8)
    return content, f"change {kind}"
