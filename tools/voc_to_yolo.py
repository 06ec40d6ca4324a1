"""Make an Ultralytics data set (YOLO labels and a YAML) of a VOC folder, for training.

    python tools/voc_to_yolo.py source=bccd out=data/bccd [train=train] [val=val]

Images are linked, not copied. Objects marked difficult and boxes without extent are left out.
"""

import json
import sys
from pathlib import Path

from casc_det.cli.parsing import script_options
from casc_det.evaluation.truth import LabelledImage, read_truth


def label_lines(image: LabelledImage) -> list[str]:
    """`class x y width height` in 0..1 of each object."""
    lines = []
    for (x1, y1, x2, y2), label, difficult in zip(image.boxes, image.labels, image.difficult, strict=True):
        if not difficult:
            values = ((x1 + x2) / 2 / image.width, (y1 + y2) / 2 / image.height)
            values += ((x2 - x1) / image.width, (y2 - y1) / image.height)
            lines.append(f"{label} " + " ".join(f"{v:.6f}" for v in values))
    return lines


def main():
    options = {"train": "train", "val": "val"} | script_options(sys.argv[1:], __doc__, "source", "out")
    out, names = Path(options["out"]), None
    for split in ("train", "val"):
        truth = read_truth(options["source"], split=options[split])
        names = names or truth.names
        if truth.names != names:
            sys.exit(f"the splits have different classes: {names} and {truth.names}")
        for problem in truth.problems:
            print(problem)
        for folder in ("images", "labels"):
            (out / folder / split).mkdir(parents=True, exist_ok=True)
        for image in truth.images:
            link = out / "images" / split / Path(image.path).name
            link.unlink(missing_ok=True)
            link.symlink_to(Path(image.path).resolve())
            (out / "labels" / split / f"{link.stem}.txt").write_text("\n".join(label_lines(image)) + "\n")
    lines = [f"path: {out.resolve()}", "train: images/train", "val: images/val", "names:"]
    yaml = out / f"{out.name}.yaml"
    yaml.write_text("\n".join([*lines, *(f"  {i}: {json.dumps(name)}" for i, name in enumerate(names))]) + "\n")
    print(f"written to {yaml}: {', '.join(names)}")


if __name__ == "__main__":
    main()
