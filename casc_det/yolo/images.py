"""Images as they come in: files, arrays, tensors and PIL images, each checked here once and made uint8 BGR.

    files                the pixels of `cv2.imread`, as Ultralytics has them (EXIF rotation; the high byte of 16 bits)
    uint8                as it is: (H, W, 3) BGR, (H, W, 4) BGRA, (H, W) or (H, W, 1) gray
    uint16               the high byte, as of files
    other integers       0..255
    floats               0..1, times 255, rounded
    torch tensors        RGB, (3, H, W) or (B, 3, H, W), values as above
    PIL images           every mode; EXIF rotation

What is none of these is refused in one line that names the argument and never shows the data.

And images as the network takes them: resized, their aspect kept, and centred on grey (Ultralytics' letterbox).
"""

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch._subclasses import FakeTensor
from ultralytics.data.augment import LetterBox
from ultralytics.utils.ops import scale_boxes
from ultralytics.utils.patches import imread

from casc_det.base.arguments import is_integer, shown
from casc_det.errors import ArgumentError, SourceError
from casc_det.graph.fields import LARGEST_SIDE
from casc_det.heads.detect.detections import Detections
from casc_det.yolo import open_image

LOGGER = logging.getLogger("casc_det")  # to stderr; that of Ultralytics prints to stdout, between JSON
MOST_PIXELS = 178_956_970  # as Pillow; more are taken for a bomb
MOST_SIDE = 65_500  # of a JPEG
DRAWN = ("EPS", "WMF")  # Pillow has other programs run what is in them, such as PostScript
ALMOST = 1e-6  # what floats may lie outside of 0..1


@dataclass
class Frame:
    """One image to look at.

    Attributes:
        image: (H, W, 3) BGR uint8.
        frame: its number in its video from 1, counting also frames that `vid_stride` leaves out; None for an image.
        fps: frames per second of the video that would be made of the frames, None for an image.
        time: seconds from the start of the video, as the file says; None for an image or where it does not say.
        number: which of the source's files, streams or images it is, from 0.
    """

    image: np.ndarray
    path: str
    frame: int | None = None
    fps: float | None = None
    time: float | None = None
    number: int = 0


def check_size(width: int, height: int) -> None:
    """Raise SourceError where an image is empty or larger than what is safe to unpack."""
    if width < 1 or height < 1:
        raise SourceError(f"has no pixels ({width} x {height})")
    if width * height > MOST_PIXELS or max(width, height) > MOST_SIDE:
        raise SourceError(
            f"is too large ({width} x {height}; at most {MOST_PIXELS / 1e6:.0f} million pixels and {MOST_SIDE} a side)"
        )


def read_image(file: str) -> Frame:
    """One image file; SourceError says why it cannot be read."""
    try:
        with open_image(file) as image:
            check_size(*image.size)
            if image.format in DRAWN:
                raise SourceError(f"is a drawing ({image.format}), not an image")
            if image.format == "TIFF":  # all of its pages are unpacked
                check_pages(image)
            image.load()  # OpenCV would fill the missing part of a truncated file with grey
    except UnidentifiedImageError:
        if Path(file).suffix.lower() not in (".heic", ".heif"):  # these need a package that Ultralytics asks for
            raise SourceError("cannot be read as a picture (unknown content)") from None
    except SourceError:
        raise
    except Exception as error:  # a decoder may raise anything where the file is damaged
        raise SourceError(f"cannot be read as a picture ({reason_of(error)})") from error
    try:
        pixels = imread(str(file))
    except Exception as error:
        raise SourceError(f"cannot be read as a picture ({reason_of(error)})") from error
    if pixels is None:
        raise SourceError("cannot be read as a picture (unknown content)")
    try:
        return Frame(as_bgr(pixels, "picture"), str(file))
    except ArgumentError as error:  # a TIFF of floats or of long integers
        raise SourceError(f"cannot be read as a picture ({reason_of(error)})") from None


def reason_of(error: BaseException) -> str:
    """The first line of an error, at most 200 characters."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]


def check_pages(image: Image.Image) -> None:
    """Raise SourceError where the pages of a TIFF together are too large."""
    pixels, page = 0, 0
    while True:
        pixels += image.size[0] * image.size[1]
        if pixels > MOST_PIXELS:
            raise SourceError(f"is too large (its pages have more than {MOST_PIXELS / 1e6:.0f} million pixels)")
        page += 1
        try:
            image.seek(page)
        except EOFError:
            break
    image.seek(0)


def as_bgr(image: object, name: str = "source") -> np.ndarray:
    """One image in memory as (H, W, 3) uint8 BGR, contiguous; see the top of this file.

    Args:
        image: array, tensor (3, H, W), or PIL image. name: the argument, for messages.

    Raises:
        ArgumentError: it is none of these, or its shape or values are not.
    """
    try:
        if isinstance(image, Image.Image):
            values = from_pil(image, name)
        elif isinstance(image, torch.Tensor):
            values = from_tensor(image, name)
        elif isinstance(image, np.ndarray):
            if np.ma.is_masked(image):
                raise ArgumentError(f"{name}: the image has masked values; fill them, for example with .filled(0)")
            values = np.asarray(image)  # a subclass may compute otherwise: a matrix never has three dimensions
        else:
            raise ArgumentError(f"{name}: expected an image (array, tensor or PIL image), got {shown(image)}")
        values = check_shape(values, name)
        return np.ascontiguousarray(to_uint8(values, name))
    except SourceError as error:
        raise ArgumentError(f"{name}: the image {error}") from None


def check_shape(values: np.ndarray, name: str) -> np.ndarray:
    """(H, W, 3), of gray or of BGR with or without alpha, still of the same type."""
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or values.shape[2] not in (1, 3, 4):
        hint = "give an array (H, W, 3)"
        if values.ndim == 3 and values.shape[0] in (1, 3, 4):
            hint = "this looks like (C, H, W), use .transpose(1, 2, 0) and BGR, or a torch tensor in RGB"
        elif values.ndim == 4:
            hint = "give several images as a list"
        raise ArgumentError(
            f"{name}: expected an image (H, W, 3) BGR, (H, W, 4) BGRA or (H, W), got shape {values.shape}; {hint}"
        )
    check_size(values.shape[1], values.shape[0])
    return values[..., :3] if values.shape[2] >= 3 else np.repeat(values, 3, axis=2)


def to_uint8(values: np.ndarray, name: str) -> np.ndarray:
    """Values of any number type as 0..255."""
    kind, dtype = values.dtype.kind, values.dtype
    if dtype == np.uint8:
        return values
    if kind not in "iuf":
        raise ArgumentError(f"{name}: expected an image of integers 0..255 or floats 0..1, got dtype {dtype}")
    if kind == "f" and not np.isfinite(values).all():
        raise ArgumentError(f"{name}: the image has values that are NaN or infinite")
    low, high = values.min(), values.max()
    if kind == "u" and dtype.itemsize == 2:
        if 0 < high <= 255:
            raise ArgumentError(f"{name}: a uint16 image spans 0..65535, got at most {high}; use .astype('uint8')")
        return (values >> 8).astype(np.uint8)
    if kind == "f":
        if low < -ALMOST or high > 1 + ALMOST:
            raise ArgumentError(
                f"{name}: expected a float image with values 0..1, got {low:g} to {high:g}; divide it by its largest "
                "possible value, or give uint8 values 0..255"
            )
        return np.rint(np.clip(values.astype(np.float64), 0, 1) * 255).astype(np.uint8)
    if low < 0 or high > 255:
        raise ArgumentError(f"{name}: expected an image of integers 0..255, got {low} to {high} ({dtype})")
    return values.astype(np.uint8)


def plain(image: torch.Tensor, name: str) -> torch.Tensor:
    """The tensor, or ArgumentError where it has no values that lie in memory one beside the other."""
    odd = image.layout != torch.strided or image.is_nested or image.is_quantized or image.is_complex()
    if odd or image.device.type == "meta" or isinstance(image, FakeTensor):
        kind = "a nested one" if image.is_nested else f"{image.dtype} ({image.layout}, {image.device.type})"
        raise ArgumentError(f"{name}: expected a dense tensor of integers or floats, got {kind}")
    return image


def from_tensor(image: torch.Tensor, name: str) -> np.ndarray:
    """(H, W, 3) BGR of a tensor (3, H, W) RGB."""
    if plain(image, name).ndim != 3 or image.shape[0] not in (1, 3):
        raise ArgumentError(
            f"{name}: expected a tensor (3, H, W) or (B, 3, H, W) in RGB, got {tuple(image.shape)}"
            + ("; use .permute(2, 0, 1)" if image.ndim == 3 and image.shape[2] in (1, 3) else "")
        )
    image = image.detach().cpu()
    image = image.double() if image.is_floating_point() else image  # NumPy does not know all of torch's floats
    return np.ascontiguousarray(image.numpy().transpose(1, 2, 0)[..., ::-1])


def from_pil(image: Image.Image, name: str) -> np.ndarray:
    """(H, W, 3) BGR or gray (H, W) of a PIL image of any mode."""
    check_size(*image.size)
    try:
        image = ImageOps.exif_transpose(image)
        if image.mode in ("I", "F") or image.mode.startswith("I;"):  # convert() would cut these off at 255
            values = np.asarray(image)
            wide = values.dtype.kind == "i" and values.min(initial=0) >= 0 and 255 < values.max(initial=0) < 65536
            return values.astype(np.uint16) if wide else values
        if image.mode in ("RGBa", "La"):  # premultiplied
            image = image.convert({"RGBa": "RGBA", "La": "LA"}[image.mode])
        return np.asarray(image.convert("RGB"))[..., ::-1]
    except Exception as error:  # a lazily opened file may be damaged in any way
        raise ArgumentError(f"{name}: the PIL image cannot be read ({reason_of(error)})") from error


def check_imgsz(imgsz: object, stride: int) -> tuple[int, int]:
    """(height, width), rounded up to multiples of `stride`, from an int or a pair.

    Raises:
        ArgumentError: it is neither, or a side is not from `stride` to 8192.
    """
    pair = (imgsz, imgsz) if isinstance(imgsz, int) else imgsz
    sizes = tuple(pair) if isinstance(pair, list | tuple) else ()
    if len(sizes) != 2 or not all(is_integer(side, stride, LARGEST_SIDE) for side in sizes):
        raise ArgumentError(
            f"imgsz: expected an int or [height, width], each from {stride} to {LARGEST_SIDE}, got {shown(imgsz)}"
        )
    height, width = (-(-s // stride) * stride for s in sizes)
    if (height, width) != sizes:
        LOGGER.warning(f"imgsz: {imgsz} is no multiple of {stride}, the network's stride; {[height, width]} is used")
    return height, width


def letterbox(image: np.ndarray, imgsz: tuple[int, int], stride: int, rect: bool = True) -> torch.Tensor:
    """Network input (3, H, W) float32 RGB in 0..1 of an image (H, W, 3) BGR uint8.

    Args:
        imgsz: (height, width) of the network. rect: pad to multiples of `stride` only.
    """
    padded = np.asarray(LetterBox(imgsz, auto=rect, stride=stride)(image=image))
    return torch.from_numpy(np.ascontiguousarray(padded[..., ::-1].transpose(2, 0, 1))).float() / 255


def original_boxes(boxes: np.ndarray, shape: tuple[int, ...], original: tuple[int, ...]) -> np.ndarray:
    """Boxes (N, 4) of a letterboxed image of `shape` (H, W) in pixels of the `original` (H, W), clipped to it."""
    there = torch.tensor(boxes, dtype=torch.float64)
    return np.asarray(scale_boxes((shape[0], shape[1]), there, (original[0], original[1])))


def in_original(found: Detections, shape: tuple[int, ...], original: tuple[int, ...]) -> Detections:
    """Detections of a letterboxed image of `shape` (H, W) in pixels of the `original` (H, W, ...)."""
    return found.placed(partial(original_boxes, shape=shape, original=original))
