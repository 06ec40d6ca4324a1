"""`casc-det demo`: the boxes of the ANN and of the spiking network over time, on one image."""

from typing import Any

from casc_det.base.folders import run_folder
from casc_det.base.kinds import TEXT
from casc_det.base.terminal import printable
from casc_det.cli.options import DETECTING, MODEL, SAVING, Option, Verb, taken


def run(options: dict[str, Any]) -> int:
    """Compare, write the board, and print a table over time."""
    from casc_det.api import SpikingYOLO
    from casc_det.prediction.demo import demo_to_folder
    from casc_det.yolo.progress import Progress, demo_image

    with run_folder(options.pop("project"), options.pop("name") or "demo", options.pop("exist_ok")) as folder:
        model = SpikingYOLO(**taken(options, MODEL))
        source = options.pop("source") or demo_image()
        with Progress("time steps") as bar:
            report = demo_to_folder(model, source, folder, bar.step, **options)
        print("\n".join(over_time(report.steps, model.simulation.plan(model.graph).input_steps)))
        print(f"{ending(report.steps[-1], report.difference)}\n{report.reads['summary']}\nPicture: {report.image}")
    return 0


def over_time(steps: list[dict], wake: int) -> list[str]:
    """Boxes and cost at a few time steps, and the boxes of the last one."""
    last, lines = steps[-1], ["   T  boxes  spikes (M)  messages (M)  payload (Mbit)  SOPs (G)"]
    for step in steps:
        info = step["spiking"]
        t = info["timesteps"]
        if t in (1, wake // 2) or t % wake == 0 or step is last:
            sent = f"{info['spikes'] / 1e6:10.2f}  {info['messages'] / 1e6:12.2f}  {info['payload_bits'] / 1e6:14.2f}"
            lines.append(f"{t:4d}  {len(step['boxes']):5d}  {sent}  {info['sops'] / 1e9:8.2f}")
    for box in last["boxes"]:
        corners = ", ".join(f"{v:.1f}" for v in box["box"])
        lines.append(f"  {printable(box['name']):<14} {box['confidence']:.3f}  [{corners}]")
    return lines


def ending(last: dict, difference: float | None) -> str:
    """How the last step compares with the ANN."""
    from casc_det.prediction.demo import verdict
    from casc_det.prediction.records import count_boxes

    rest = "quiescent" if last["spiking"]["quiescent"] else "not yet quiescent"
    text = f"{count_boxes(len(last['boxes']))}, {verdict(difference)}"
    return f"SNN at T = {last['spiking']['timesteps']} ({rest}): {text}"


VERB = Verb(
    run,
    "show the ANN's and the spiking network's boxes over time on a street image",
    "casc-det demo",
    {
        "source": Option(TEXT, None, "one image; default: bus.jpg of the Ultralytics package"),
        **MODEL,
        **DETECTING,
        **SAVING,
    },
)
