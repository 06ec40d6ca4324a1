"""What each verb of the command line does: calls one function of the library and prints what came of it."""

import json
import sys
import textwrap
from dataclasses import fields
from pathlib import Path

from casc_det.base.terminal import printable
from casc_det.errors import ArgumentError

PROBLEMS = 10  # lines of them on the screen, at most
MODEL = ("weights", "device", "precision", "engine", "hysteresis", "delay", "threads")  # arguments of SpikingYOLO


def run_predict(options: dict) -> int:
    from casc_det.base.folders import run_folder

    with run_folder(options.pop("project"), options.pop("name") or "predict", options.pop("exist_ok")) as folder:
        return predict_into(folder, options)


def predict_into(folder: Path, options: dict) -> int:
    from casc_det.api import SpikingYOLO
    from casc_det.graph.zoo import DEFAULT
    from casc_det.prediction.outputs import Saving
    from casc_det.prediction.predict import predict_to_folder
    from casc_det.prediction.records import count_boxes
    from casc_det.yolo.progress import Progress

    made_with = {key: options.pop(key) for key in MODEL}
    model = SpikingYOLO(**made_with)
    made_with["weights"] = str(made_with["weights"] or DEFAULT)
    made_with["precision"] = str(model.dtype).removeprefix("torch.")
    source, json_to_screen = options.pop("source"), options.pop("json")
    if isinstance(options["timesteps"], int) and 0 < options["timesteps"] < model.graph.levels:
        print(
            f"note: the picture is still being injected before T = {model.graph.levels}; expect few boxes",
            file=sys.stderr,
        )
    saving = Saving(**{field.name: options.pop(field.name) for field in fields(Saving)})
    with Progress("predict") as bar:
        content = predict_to_folder(model, source, folder, bar.frame, made_with, saving, **options)
    results, skipped = content["results"], f", {len(content['skipped'])} skipped" if content["skipped"] else ""
    if json_to_screen:
        print((folder / "predictions.json").read_text(), end="")
        return exit_code(content)
    for result in results if len(results) <= 50 and all(r["frame"] is None for r in results) else []:
        info = result["spiking"]
        rest = ", at rest" if info["quiescent"] else ""
        seen = printable(f"{result['path']}: {result['summary']}")
        print(f"{seen}, T = {info['timesteps']}{rest}, {info['spikes'] / 1e6:.1f} M spikes")
    kind = "frame" if any(r["frame"] for r in results) else "picture"
    seen = f"{len(results)} {kind}{'' if len(results) == 1 else 's'}"
    boxes = count_boxes(sum(len(r["boxes"]) for r in results))
    print(f"{'interrupted after ' if content['interrupted'] else ''}{seen}, {boxes}{skipped}; written to {folder}")
    return exit_code(content)


def exit_code(content: dict) -> int:
    """Of `predict`: 130 interrupted, 1 a part of a video could not be read or a file not be written."""
    for fault in content["unwritten"]:
        print(printable(f"casc-det: '{fault['file']}' could not be written: {fault['reason']}"), file=sys.stderr)
    if content["interrupted"]:
        return 130
    return 1 if content["incomplete"] or content["unwritten"] else 0


def run_demo(options: dict) -> int:
    from casc_det.base.folders import run_folder

    with run_folder(options.pop("project"), options.pop("name") or "demo", options.pop("exist_ok")) as folder:
        return demo_into(folder, options)


def demo_into(folder: Path, options: dict) -> int:
    from casc_det.api import SpikingYOLO
    from casc_det.prediction.demo import demo_to_folder, verdict
    from casc_det.prediction.records import count_boxes
    from casc_det.yolo.progress import Progress, demo_image

    model = SpikingYOLO(**{key: options.pop(key) for key in MODEL})
    source = options.pop("source") or demo_image()
    with Progress("time steps") as bar:
        report = demo_to_folder(model, source, folder, bar.step, **options)
    print("   T  boxes  spikes (M)  SOPs (G)")
    levels, last = model.graph.levels, report.steps[-1]
    for step in report.steps:
        t = step["spiking"]["timesteps"]
        if t in (1, levels // 2, levels) or t % levels == 0 or step is last:
            info = step["spiking"]
            print(f"{t:4d}  {len(step['boxes']):5d}  {info['spikes'] / 1e6:10.2f}  {info['sops'] / 1e9:8.2f}")
    for box in last["boxes"]:
        corners = ", ".join(f"{v:.1f}" for v in box["box"])
        print(f"  {printable(box['name']):<14} {box['confidence']:.3f}  [{corners}]")
    rest = "quiescent" if last["spiking"]["quiescent"] else "not yet quiescent"
    text = f"{count_boxes(len(last['boxes']))}, {verdict(report.difference)}"
    print(f"SNN at T = {last['spiking']['timesteps']} ({rest}): {text}")
    print(f"Picture: {report.image}")
    return 0


def run_val(options: dict) -> int:
    from casc_det.api import SpikingYOLO
    from casc_det.evaluation.energy import EnergyModel
    from casc_det.evaluation.report import table
    from casc_det.yolo.progress import Progress

    model = SpikingYOLO(**{key: options.pop(key) for key in MODEL})
    strict, mapping = options.pop("strict"), parse_mapping(options.pop("map"))
    energy = EnergyModel(options.pop("mac_pj"), options.pop("ac_pj"))
    with Progress("val") as bar:
        content = model.val(mapping=mapping, energy=energy, progress=bar.images, **options)
    if content is None:
        return 0
    folder = Path(content["settings"]["folder"])
    name_problems(content, folder / "results.json")
    for key, words in (
        ("classes_not_in_model", "the model does not know"),
        ("classes_not_in_data", "not in the data set"),
    ):
        if content[key]:
            named = ", ".join(content[key][:8]) + (", ..." if len(content[key]) > 8 else "")
            print(printable(f"{len(content[key])} classes {words}: {named}"), file=sys.stderr)
    print(table(content))
    print(f"Written to {folder}")
    return damage(content, strict)


def name_problems(content: dict, file: Path) -> None:
    """Print what of a data set could not be used: the first lines, and the file that holds all of them."""
    problems = content["problems"]
    for problem in problems[:PROBLEMS]:
        print(printable(problem), file=sys.stderr)
    if len(problems) > PROBLEMS:
        print(printable(f"... and {len(problems) - PROBLEMS} more like these, all in {file}"), file=sys.stderr)


def damage(content: dict, strict: bool) -> int:
    """The exit code: 1 where images could not be used, which is said, unless that is accepted."""
    if not content["damaged"] or not strict:
        return 0
    files = f"{content['damaged']} files could not be used or do not fit, see above"
    print(f"casc-det: data: {files} (strict=false accepts that)", file=sys.stderr)
    return 1


def parse_mapping(text) -> dict[str, list[str]]:
    """`tvmonitor:tv,furniture:chair,furniture:couch` as a dictionary: data set name -> model names."""
    pairs = [part.split(":") for part in str(text or "").split(",") if part]
    if any(len(pair) != 2 for pair in pairs):
        raise ArgumentError(f"map: expected <data set name>:<model name>,..., got {text!r}")
    mapping: dict[str, list[str]] = {}
    for name, target in pairs:
        mapping.setdefault(name.strip(), []).append(target.strip())
    return mapping


def run_train(options: dict) -> int:
    from casc_det.training.trainer import train

    folder = train(**{key: value for key, value in options.items() if value is not None})
    print(f"Trained; next: casc-det convert weights={folder / 'weights' / 'best.pt'} out=model.safetensors")
    return 0


def run_convert(options: dict) -> int:
    from casc_det.conversion.audit import AuditError, format_audit
    from casc_det.yolo.convert import convert

    if Path(str(options["out"])).suffix != ".safetensors":
        raise ArgumentError(f"out: expected a file that ends in .safetensors, got '{options['out']}'")
    try:
        conversion = convert(options["weights"], options["imgsz"], options["precision"], options["trust"])
    except AuditError as error:
        print(format_audit(error.audit))
        raise
    print(format_audit(conversion.audit) or f"'{options['weights']}' is a spiking graph; rounded to whole numbers")
    path = conversion.save(options["out"])
    print(f"Written to {path} ({path.stat().st_size / 1e6:.1f} MB); try: casc-det predict weights={path} source=...")
    return 0


def run_info(options: dict) -> int:
    from casc_det.graph.file import load_graph
    from casc_det.graph.zoo import find
    from casc_det.simulation.cost import describe

    facts = describe(load_graph(find(options["weights"])), options["imgsz"])
    if options["json"]:
        print(json.dumps(facts, indent=1))
        return 0
    for key, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v}" for k, v in value.items())
        for number, line in enumerate(textwrap.wrap(str(value), 100) or [""]):
            print(f"{'' if number else key:<18} {printable(line)}")
    return 0


def run_study(options: dict) -> int:
    from casc_det.evaluation.energy import EnergyModel
    from casc_det.studies.run import study
    from casc_det.studies.summary import table
    from casc_det.yolo.progress import Progress

    energy, strict = EnergyModel(options.pop("mac_pj"), options.pop("ac_pj")), options.pop("strict")
    with Progress("study") as bar:
        folder, _ = study(energy=energy, progress=bar.cells, **options)
    summary = json.loads((folder / "summary.json").read_text())
    name_problems(summary, folder / "summary.json")
    print("\n".join([table(summary["cells"]), *summary["answers"]]))
    print(f"Written to {folder}; open {folder / 'report.html'}")
    return damage(summary, strict)


def run_models(options: dict) -> int:
    import hashlib

    from casc_det.graph.zoo import DEFAULT, folders, shipped

    found = shipped()
    if options["json"]:
        sums = [hashlib.sha256(entry.path.read_bytes()).hexdigest() for entry in found]
        facts = [{**entry._asdict(), "path": str(entry.path)} for entry in found]
        print(json.dumps([{**fact, "sha256": digest} for fact, digest in zip(facts, sums, strict=True)], indent=1))
        return 0
    width = max([len(entry.name) for entry in found], default=0)
    for entry in found:
        kind = "8-bit integers" if entry.integer else "real-valued"
        text = f"{entry.classes:3d} classes  Q = {entry.levels:<2d}  {entry.imgsz} px  {kind:<14}"
        mark = "  (default)" if entry.name == DEFAULT else ""
        print(f"{printable(entry.name):<{width}}  {text}  {entry.size / 1e6:4.1f} MB{mark}")
    print(f"In {', '.join(map(str, folders())) or 'no folder'}; use one by its name: casc-det info weights={DEFAULT}")
    return 0
