"""Calls of the command line, and videos for them."""

import cv2
import numpy as np

from casc_det.cli.run import main


def run(capsys, *words) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def fails(capsys, *words, code=1) -> str:
    """The one-line message of a call that must fail."""
    got, _, error = run(capsys, *words)
    line = error.strip().splitlines()[-1]
    assert got == code and line.startswith("casc-det: ") and "Traceback" not in error
    return line


def clip(path, frames: int, shade: int = 60):
    path.parent.mkdir(exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for i in range(frames):
        writer.write(np.full((48, 64, 3), shade * i % 256, np.uint8))
    writer.release()
    return path


def frames_of(path) -> int:
    return int(cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT))
