"""`casc-det predict`: images and videos through a spiking network, into a run folder."""

import sys
from pathlib import Path
from typing import Any

from casc_det.base.folders import run_folder
from casc_det.base.kinds import FLAG, INTEGER, TEXT
from casc_det.base.terminal import printable
from casc_det.cli.options import DETECTING, MODEL, REQUIRED, SAVING, Option, Verb, taken
from casc_det.heads.detect.settings import DetectionSettings

LISTED = 50  # images that have a line of their own, at most
FILES = {
    "save": Option(FLAG, True, "write annotated images and videos"),
    "save_txt": Option(FLAG, False, "write boxes as YOLO label files"),
    "save_conf": Option(FLAG, False, "with scores in these label files"),
    "save_crop": Option(FLAG, False, "write the inside of each box as an image"),
}


def run(options: dict[str, Any]) -> int:
    """Detect, write the run folder, and say what came of it."""
    with run_folder(options.pop("project"), options.pop("name") or "predict", options.pop("exist_ok")) as folder:
        json_to_screen = options.pop("json")
        content = predict(folder, options)
        if json_to_screen:
            print((folder / "predictions.json").read_text(), end="")
        else:
            print("\n".join(summary(content, folder)))
        return exit_code(content)


def predict(folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """The content of `predictions.json`, see `predict_to_folder`."""
    from casc_det.api import SpikingYOLO
    from casc_det.graph.zoo import DEFAULT
    from casc_det.prediction.outputs import Saving
    from casc_det.prediction.predict import predict_to_folder
    from casc_det.yolo.progress import Progress

    made_with = taken(options, MODEL)
    model = SpikingYOLO(**made_with)
    made_with["weights"] = str(made_with["weights"] or DEFAULT)
    made_with["precision"] = str(model.dtype).removeprefix("torch.")
    source, timesteps = options.pop("source"), options["timesteps"]
    wake = model.simulation.plan(model.graph).wake
    if wake and isinstance(timesteps, int) and 0 < timesteps < wake:
        note = f"the image is still being injected before T = {wake}; expect few boxes"
        print(f"note: {note}", file=sys.stderr)
    saving = Saving(**taken(options, FILES))
    with Progress("predict") as bar:
        return predict_to_folder(model, source, folder, bar.frame, made_with, saving, **options)


def summary(content: dict[str, Any], folder: Path) -> list[str]:
    """A line for each of a few images, and one for all."""
    from casc_det.prediction.records import count_boxes

    results, skipped, lines = content["results"], len(content["skipped"]), []
    for result in results if len(results) <= LISTED and all(r["frame"] is None for r in results) else []:
        info = result["spiking"]
        rest = ", at rest" if info["quiescent"] else ""
        seen = printable(f"{result['path']}: {result['summary']}")
        sent = f"{info['spikes'] / 1e6:.1f} M spikes in {info['messages'] / 1e6:.1f} M messages"
        lines.append(f"{seen}, T = {info['timesteps']}{rest}, {sent}")
    kind = "frame" if any(r["frame"] for r in results) else "image"
    done = f"{'interrupted after ' if content['interrupted'] else ''}{len(results)} {kind}{'s' * (len(results) != 1)}"
    boxes = count_boxes(sum(len(r["boxes"]) for r in results))
    ending = f"{done}, {boxes}{f', {skipped} skipped' if skipped else ''}; written to {folder}"
    return [*lines, content["reads"]["summary"], ending]


def exit_code(content: dict[str, Any]) -> int:
    """130 interrupted, 1 a part of a video could not be read or a file, which is named, not be written."""
    for fault in content["unwritten"]:
        print(printable(f"casc-det: '{fault['file']}' could not be written: {fault['reason']}"), file=sys.stderr)
    if content["interrupted"]:
        return 130
    return 1 if content["incomplete"] or content["unwritten"] else 0


VERB = Verb(
    run,
    "detect objects in images and videos with a spiking network",
    "casc-det predict source=bus.jpg timesteps=32",
    {
        "source": Option(TEXT, REQUIRED, "image, folder, glob, .txt list, video, webcam index or URL"),
        **MODEL,
        **DETECTING,
        "max_det": Option(INTEGER, DetectionSettings.max_det, "most boxes an image"),
        "classes": Option(TEXT, None, "classes to keep, for example person,bus or [0,2]"),
        "batch": Option(INTEGER, 1, "images simulated together"),
        "rect": Option(FLAG, True, "pad to multiples of the stride; false: to a square"),
        "vid_stride": Option(INTEGER, 1, "use every so many frames of a video"),
        "policy": Option(
            TEXT, "quiescent", "with timesteps=auto, when to stop: quiescent, boxes-stable(k), confident(p)"
        ),
        **FILES,
        "json": Option(FLAG, False, "print predictions.json, which is written in any case, instead of a summary"),
        **SAVING,
    },
)
