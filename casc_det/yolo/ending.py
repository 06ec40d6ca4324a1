"""Whether a video file ends early, as what it announces itself tells; nothing is decoded.

Sources: ISO/IEC 14496-12 (boxes of MP4 and MOV), RIFF (AVI), EBML and Matroska (RFC 8794, RFC 9559), ASF (Microsoft),
ISO/IEC 13818-1 (packets of transport streams), GIF89a.
"""

from collections.abc import Callable
from pathlib import Path

HEAD = 4096  # bytes from which a container is known
PACKET = 188  # bytes, of a transport stream
ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # the object that has the file's size
EDITED = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")


def is_edited(path: Path) -> bool:
    """Whether a file is of the MP4 family, whose edit lists leave out frames that the header counts."""
    with path.open("rb") as file:
        return _is_mp4(file.read(12))


def is_cut(path: Path) -> bool:
    """Whether a file ends before the last part that it announces (MP4, MOV, AVI, Matroska, ASF, TS, GIF)."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEAD)
    end = next((end for matches, end in CONTAINERS if matches(head)), None)
    return end is not None and end(path, head, size) > size


# where a file ends, as it announces it; 0 where it does not -----------------------------------------------------------


def _riff_end(path: Path, head: bytes, size: int) -> int:
    length = int.from_bytes(head[4:8], "little")
    return length + 8 if length < 2**32 - 1 else 0


def _matroska_end(path: Path, head: bytes, size: int) -> int:
    try:
        length, at = _ebml_number(head, 4)
        at += length
        if head[at : at + 4] != b"\x18S\x80g":  # the segment
            return 0
        length, at = _ebml_number(head, at + 4)
        return at + length if length else 0
    except IndexError:
        return 0


def _ebml_number(head: bytes, at: int) -> tuple[int, int]:
    """A number of variable length, 0 where it is all ones (unknown), and where it ends."""
    width = 9 - head[at].bit_length()
    unknown = (1 << 7 * width) - 1
    value = int.from_bytes(head[at : at + width], "big") & unknown
    return (0 if value == unknown else value), at + width


def _asf_end(path: Path, head: bytes, size: int) -> int:
    at = head.find(ASF_FILE)
    return int.from_bytes(head[at + 40 : at + 48], "little") if at > 0 else 0


def _packets_end(path: Path, head: bytes, size: int) -> int:
    return -(-size // PACKET) * PACKET


def _gif_end(path: Path, head: bytes, size: int) -> int:
    return size if gif_ends(path.read_bytes()) else size + 1


def gif_ends(data: bytes) -> bool:
    """Whether the blocks of a GIF follow each other up to its end mark."""

    def palette(flags: int) -> int:
        return 3 << (flags & 7) + 1 if flags & 0x80 else 0

    try:
        at = 13 + palette(data[10])
        while data[at] != 0x3B:
            if data[at] not in (0x21, 0x2C):  # extension, image
                return False
            at += 2 if data[at] == 0x21 else 11 + palette(data[at + 9])
            while data[at]:
                at += data[at] + 1
            at += 1
    except IndexError:
        return False
    return True


def _is_mp4(head: bytes) -> bool:
    return head[4:8] in EDITED


def _mp4_end(path: Path, head: bytes, size: int) -> int:
    position = 0
    with path.open("rb") as file:
        while position + 8 <= size:
            file.seek(position)
            box = file.read(16)
            length = int.from_bytes(box[:4], "big")
            length = int.from_bytes(box[8:16], "big") if length == 1 else length or size - position
            if length < 8:
                return 0  # no box: something was appended
            position += length
    return position


CONTAINERS: tuple[tuple[Callable[[bytes], bool], Callable[[Path, bytes, int], int]], ...] = (
    (lambda head: head[:4] == b"RIFF", _riff_end),
    (lambda head: head[:4] == b"\x1aE\xdf\xa3", _matroska_end),
    (lambda head: head[:4] == b"0&\xb2u", _asf_end),
    (lambda head: head[:1] == head[PACKET : PACKET + 1] == b"G", _packets_end),
    (lambda head: head[:4] == b"GIF8", _gif_end),
    (_is_mp4, _mp4_end),
)
