"""VOC folders: JPEGImages, Annotations, ImageSets/Main, as the development kit has them and as people make them.

A line of a list is a name, with or without suffix and folders, possibly with blanks, possibly followed by -1, 0 or 1
(lists of one class). The image of a name is the file of that stem in JPEGImages with any known suffix, else what
`<filename>` says.
"""

import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from functools import cache
from pathlib import Path

from casc_det.errors import SourceError, one_line
from casc_det.evaluation.fields import flag, number, side, text
from casc_det.evaluation.truth import Row, Truth, make_image

SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".png",
    ".bmp",
    ".webp",
    ".tif",
    ".tiff",
    ".avif",
    ".heic",
    ".heif",
    ".jp2",
    ".mpo",
    ".dng",
)
LARGEST_XML = 64 << 20
EAST_ASIAN = ("gb2312", "gbk", "gb18030", "cp936", "big5", "cp950", "shift_jis", "cp932", "euc-jp", "euc-kr", "cp949")

Named = tuple[float, float, float, float, str, bool]  # x1, y1, x2, y2, class name, difficult


def read_voc(path: Path, split: str) -> Truth:
    """Classes are those of the annotations, in alphabetical order.

    Raises:
        SourceError: the list is missing, or no annotation can be read.
    """
    stems = _names(path, split)
    problems: list[str] = []
    parsed, damaged = {}, 0
    for stem in stems:
        if stem in parsed:
            problems.append(f"{stem}: listed twice; counted once")
            continue
        try:
            parsed[stem] = _voc_objects(_annotation(path / "Annotations", stem))
        except FileNotFoundError:
            problems.append(f"{stem}.xml: absent, so image {stem} is unlabelled; skipped")
            damaged += 1
        except (ElementTree.ParseError, ValueError, LookupError, OSError) as error:
            problems.append(f"{stem}.xml: broken ({one_line(error)}); skipped")
            damaged += 1
    if not parsed:
        reason = f": {problems[0]}" if problems else ", the list is empty"
        raise SourceError(f"data: no annotation of split '{split}' in '{path}' can be read{reason}")
    names = sorted({name for _, rows, _ in parsed.values() for *_, name, _ in rows})
    if not names:
        raise SourceError(
            f"data: the {len(parsed)} annotations of split '{split}' in '{path}' name no object, and a VOC folder has "
            "its classes from them; there is nothing to score"
        )
    label_of = {name: label for label, name in enumerate(names)}
    find = _image_finder(path / "JPEGImages")
    images = []
    for stem, (size, rows, filename) in parsed.items():
        labelled: list[Row] = [(*row[:4], label_of[row[4]], False, row[5], None) for row in rows]
        images.append(make_image(stem, find(stem, filename), size, labelled, problems))
    return Truth("voc", f"{path.name} {split}", names, list(range(1, len(names) + 1)), images, problems, damaged)


def _names(path: Path, split: str) -> list[str]:
    """The names of a list, as their annotation files are called."""
    file = path / "ImageSets" / "Main" / f"{split}.txt"
    if not os.path.isfile(file):
        if found := sorted(path.glob("annotations/instances_*.json")):
            raise SourceError(
                f"data: '{path}' is a COCO folder; give its annotation file, for example data={found[-1]}"
            )
        if known := ", ".join(sorted(other.stem for other in file.parent.glob("*.txt"))):
            raise SourceError(f"data: '{file}' does not exist; give split= ({known})")
        if any(os.path.isdir(path / name) for name in ("Annotations", "ImageSets", "JPEGImages")):
            raise SourceError(
                f"data: '{path}' has no list of its images; a VOC folder needs ImageSets/Main/<split>.txt with a name "
                "in each line"
            )
        inside = sorted(other for kind in ("*.yaml", "*.yml", "*.json") for other in path.glob(kind))[:1]
        example = "".join(f", for example data={other}" for other in inside)
        raise SourceError(
            f"data: '{path}' is no VOC folder (it has no ImageSets/Main); give a COCO .json, a VOC folder or a dataset "
            f"YAML{example}"
        )
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise SourceError(f"data: '{file}' cannot be read ({error})") from error
    return [_name(line.strip(), path / "Annotations") for line in lines if line.strip()]


def _name(line: str, annotations: Path) -> str:
    """The name that a line stands for: the longest reading for which there is an annotation."""
    of_class = re.fullmatch(r"(.*\S)\s+(?:-1|0|1|\+1)", line)
    readings = [line] + ([of_class[1]] if of_class else [])
    readings += [reading.replace("\\", "/") for reading in readings if "\\" in reading]
    for reading in list(readings):
        stem, suffix = os.path.splitext(reading)
        readings += [stem] if suffix.lower() in (*SUFFIXES, ".xml") else []
    readings += [os.path.basename(reading) for reading in readings]  # lists with whole paths
    found = (reading for reading in readings if os.path.isfile(_annotation(annotations, reading)))
    return next(found, of_class[1] if of_class else line)


def _annotation(folder: Path, name: str) -> Path:
    """The annotation file of a name."""
    upper = folder / f"{name}.XML"
    return upper if os.path.isfile(upper) else folder / f"{name}.xml"


def _image_finder(folder: Path) -> Callable[[str, str], Path]:
    """A function from (name, `<filename>`) to the path of the image; folders are listed once."""

    @cache
    def listed(place: str) -> dict[str, list[str]]:
        stems: dict[str, list[str]] = {}
        for name in sorted(os.listdir(place)) if os.path.isdir(place) else ():
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in SUFFIXES:
                stems.setdefault(stem, []).append(name)
        return stems

    def find(stem: str, filename: str) -> Path:
        wanted = os.path.basename(filename.replace("\\", "/"))
        place, name = os.path.split(os.path.join(folder, stem))
        known = listed(place)
        files = known.get(name) or known.get(os.path.splitext(wanted)[0]) or known.get(wanted) or [f"{name}.jpg"]
        rank = lambda file: (file != wanted, SUFFIXES.index(os.path.splitext(file)[1].lower()))
        return Path(place) / min(files, key=rank)

    return find


def _decoded(data: bytes) -> bytes | str:
    """What the XML parser can read.

    Beyond it are blanks before the declaration, encodings of East Asia, and a declared UTF-16 that is none.
    """
    data = data.lstrip()
    declared = re.match(rb"<\?xml[^>]*encoding=[\"']([\w.-]+)", data)
    name = declared[1].decode().lower() if declared else ""
    if name.startswith("utf-16"):
        return data.decode("utf-8")
    return data.decode(name) if name in EAST_ASIAN else data


def _voc_objects(file: Path) -> tuple[tuple[int, int], list[Named], str]:
    """((width, height) or zeros, objects, `<filename>`) of one annotation; ValueError says why not."""
    if os.path.exists(file) and not os.path.isfile(file):
        raise ValueError("it is no file")
    data = file.read_bytes()
    if len(data) > LARGEST_XML:
        raise ValueError(f"{len(data)} bytes are more than an annotation has")
    if b"<!DOCTYPE" in data.replace(b"\0", b""):
        raise ValueError("a document type, whose entities could expand without end, is refused")
    root = ElementTree.fromstring(_decoded(data))
    if not root.tag.lower().startswith("annotation"):
        raise ValueError(f"expected <annotation>, got <{root.tag[:60]}>")
    width, height = (side((root.findtext(f"size/{key}") or "").strip(), key) for key in ("width", "height"))
    rows: list[Named] = []
    for i, item in enumerate(root.iter("object"), 1):
        where = f"object {i}"
        texts = {key: item.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")}
        for key, value in texts.items():
            if value is None:
                raise ValueError(f"{where} has no {key}")
        x1, y1, x2, y2 = (number(str(value).strip(), f"{where}, bndbox") for value in texts.values())
        if x2 > x1 and y2 > y1:  # a point stays a point: it is left out with its corners named
            x1, y1 = x1 - 1, y1 - 1
        difficult = flag(item.findtext("difficult", "0"), f"{where}, difficult")
        name = text((item.findtext("name") or "").strip(), f"{where}, name")
        rows.append((x1, y1, x2, y2, name, difficult))
    return (width, height), rows, (root.findtext("filename") or "").strip()
