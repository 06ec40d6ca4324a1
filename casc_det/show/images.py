"""Images on disk: annotated results and the demo's board, drawn by OpenCV."""

from pathlib import Path

import cv2
import numpy as np

from casc_det.base.files import write_bytes
from casc_det.errors import SourceError

INK, PAPER, GREEN = (40, 40, 40), (255, 255, 255), (60, 140, 30)  # BGR, as all colours here
COLOURS = ((56, 56, 255), (255, 149, 0), (31, 170, 255), (52, 147, 26), (200, 55, 255), (187, 212, 0), (134, 34, 255))
FONT = cv2.FONT_HERSHEY_SIMPLEX


def write_image(path: str | Path, image: np.ndarray) -> Path:
    """Write a BGR image (H, W, 3) uint8 whole or not at all; the suffix gives the format.

    Raises:
        SourceError: the suffix is of no known format. OutputError: the file cannot be written.
    """
    try:
        done, data = cv2.imencode(Path(path).suffix or ".jpg", image)
    except cv2.error:
        done = False
    if not done:
        raise SourceError(f"out: '{path}' has no known picture suffix; use .jpg or .png")
    return write_bytes(path, data.tobytes())


def jpeg_of(image: np.ndarray, side: int) -> tuple[bytes, float]:
    """A BGR image as JPEG, made smaller so that its longer side is at most `side` pixels, and the scale."""
    scale = min(1.0, side / max(image.shape[:2]))
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
    return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes(), scale


def draw_boxes(
    image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, names: list[str], scores: np.ndarray | None = None
) -> np.ndarray:
    """A copy of a BGR image with boxes (N, 4) xyxy in pixels, class names and, where given, scores (N,)."""
    drawn = image.copy()
    width = max(round(sum(image.shape[:2]) / 2 * 0.004), 2)
    for i, (box, label) in enumerate(zip(boxes, labels, strict=True)):
        x1, y1, x2, y2 = (round(v) for v in box)
        colour = COLOURS[label % len(COLOURS)]
        cv2.rectangle(drawn, (x1, y1), (x2, y2), colour, width, cv2.LINE_AA)
        text = drawable(names[label]) + ("" if scores is None else f" {scores[i]:.2f}")
        size = width * 0.28
        (w, h), _ = cv2.getTextSize(text, FONT, size, max(width // 2, 1))
        left = max(min(x1, image.shape[1] - w - 4), 0)  # the text stays inside the image where it fits into it
        top = max(min(y1 - h - 6, image.shape[0] - h - 6), 0)
        cv2.rectangle(drawn, (left, top), (left + w + 4, top + h + 6), colour, -1)
        cv2.putText(drawn, text, (left + 2, top + h + 2), FONT, size, PAPER, max(width // 2, 1), cv2.LINE_AA)
    return drawn


def drawable(text: str) -> str:
    """Text as OpenCV can draw it: its fonts have ASCII only, and half of a surrogate pair crashes it."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)


def panel(image: np.ndarray, title: str, note: str = "", good: bool = False, width: int = 320) -> np.ndarray:
    """An image of `width` pixels with a title line above and a note below, both green where `good`."""
    height = round(image.shape[0] * width / image.shape[1])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    colour = GREEN if good else INK
    return np.vstack((_line(title, 38, width, 0.6, 2, colour), small, _line(note, 30, width, 0.44, 1, colour)))


def _line(text: str, height: int, width: int, size: float, bold: int, colour: tuple[int, int, int]) -> np.ndarray:
    """A white strip with a text, smaller where it is too long."""
    strip, shown = np.full((height, width, 3), 255, np.uint8), drawable(text)
    (needed, _), _ = cv2.getTextSize(shown, FONT, size, bold)
    size *= min(1.0, (width - 8) / max(needed, 1))
    cv2.putText(strip, shown, (4, height * 2 // 3 + 1), FONT, size, colour, bold, cv2.LINE_AA)
    return strip


def board(panels: list[np.ndarray], columns: int = 3, gap: int = 12) -> np.ndarray:
    """Panels of equal width in rows on white; a row is as high as its highest panel."""
    width = panels[0].shape[1]
    rows = [panels[i : i + columns] for i in range(0, len(panels), columns)]
    heights = [max(image.shape[0] for image in row) for row in rows]
    sheet = np.full((sum(heights) + gap * (len(rows) + 1), columns * (width + gap) + gap, 3), 255, np.uint8)
    y = gap
    for row, height in zip(rows, heights, strict=True):
        for i, image in enumerate(row):
            x = gap + i * (width + gap)
            sheet[y : y + image.shape[0], x : x + width] = image
        y += height + gap
    return sheet
