"""Cameras and URLs: streams, and single images that are fetched."""

import tempfile
import time
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

from ultralytics.data.utils import IMG_FORMATS, VID_FORMATS

from casc_det.errors import SourceError
from casc_det.yolo.files import WEB
from casc_det.yolo.images import Frame, read_image, reason_of
from casc_det.yolo.stream import TIMEOUT

MOST_BYTES, MOST_SECONDS = 2**28, 60  # of an image that is fetched


@dataclass(frozen=True)
class Address:
    """A camera's index or a URL."""

    text: str

    @property
    def target(self) -> str | int:
        """As OpenCV takes it."""
        return int(self.text) if self.text.isdecimal() else self.text

    @property
    def suffix(self) -> str:
        """Of the file that a web address names, without the dot."""
        try:
            return urlsplit(self.text).path.rpartition(".")[2].lower() if self.text.lower().startswith(WEB) else ""
        except ValueError:  # no address: `fetch` says so
            return ""

    @property
    def live(self) -> bool:
        """Whether it goes on without end: frames that nobody asked for in time are dropped."""
        return self.suffix not in VID_FORMATS

    def fetch(self) -> Frame | None:
        """The image behind a URL, None where it is none.

        Raises:
            SourceError: it does not answer, or with too much.
        """
        if not self.text.lower().startswith(WEB) or self.suffix in VID_FORMATS:
            return None
        try:
            with urlopen(self.text, timeout=TIMEOUT) as answer:
                kind: str = answer.headers.get_content_type()
                if not kind.startswith("image/") and self.suffix not in IMG_FORMATS:
                    return None
                data, end = bytearray(), time.monotonic() + MOST_SECONDS
                while chunk := answer.read1(2**16):
                    data += chunk
                    if len(data) > MOST_BYTES or time.monotonic() > end:
                        raise SourceError(f"is too large or too slow (more than {len(data) >> 20} MiB)")
        except (OSError, ValueError, HTTPException) as error:
            raise SourceError(f"cannot be opened ({reason_of(error)})") from error
        with tempfile.TemporaryDirectory() as folder:
            suffixes = (self.suffix, kind.partition("/")[2])  # a server may say anything
            file = Path(folder, f"picture.{next((s for s in suffixes if s in IMG_FORMATS), 'jpg')}")
            file.write_bytes(data)
            frame = read_image(str(file))
        frame.path = self.text
        return frame
