"""The page of a study: whole, without network, and working in a browser."""

import csv
import json
import re
import shutil
import subprocess

import pytest


def test_folder_holds_figures_tables_and_one_page_without_network(tiny_study):
    folder, records = tiny_study
    for name in ("map", "curves", "pareto", "robustness", "more_fewer", "layer_error", "neurons", "mapping"):
        assert (folder / f"{name}.png").stat().st_size > 5000 and (folder / f"{name}.pdf").stat().st_size > 2000
    with (folder / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 40 * len(records) and rows[0]["neuron"] == "cif"
    page = (folder / "report.html").read_text()
    assert len(page) < 8e6 and "__DATA__" not in page
    assert not re.findall(r"""(?:src|href)\s*=\s*["']https?:""", page) and "fetch(" not in page
    embedded = json.loads(re.search(r'<script id="data".*?>(.*?)</script>', page, re.DOTALL)[1].replace("<\\/", "</"))
    assert embedded["steps"] == 40 and len(embedded["records"]) == len(records)
    first = embedded["networks"][0]["runs"][0]  # what comes after rest is not written
    assert len(first["boxes"]) == len(first["sent"]) == len(first["taken"]) == (first["rest"] or 40)
    assert len(embedded["networks"]) == sum(not record["variant"]["severity"] for record in records)
    summary = json.loads((folder / "summary.json").read_text())
    best = sorted(max(record["result"]["curves"]["mAP50-95"]) for record in records)
    assert sorted(entry["best"] for entry in summary["cells"]) == best
    assert [entry["disturbance"] for entry in summary["cells"]] == ["clean"] * (len(records) - 1) + ["noise 2"]
    assert (
        "is the first step with 99 % of the ANN's" in summary["answers"][0]
        and "take an earlier one" in summary["answers"][1]
    )
    assert embedded["answers"] == summary["answers"] and embedded["summary"] == summary["cells"]


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
def test_page_in_a_browser(tiny_study, tmp_path):
    """The slider's place changes boxes and bars, and nothing is written to the console."""
    page, doms = tiny_study[0] / "report.html", {}
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}", "--enable-logging=stderr"]
    for t, network in ((1, 1), (40, 1), (40, 2)):
        words = ["chromium", *options, "--dump-dom", f"file://{page}#picture=2&t={t}&network={network}"]
        run = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
        assert "CONSOLE" not in run.stderr, run.stderr
        dom = doms[t, network] = run.stdout.split('<script id="data"')[0]
        clean = [
            record for record in tiny_study[1] if not record["variant"]["severity"]
        ]  # the others are hidden at first
        assert f"T = {t} (" in dom and dom.count("<polyline") == len(clean) and dom.count("<figure>") == 8
        assert dom.count('class="off"') == len(tiny_study[1]) - len(clean) == 1
    svg = {key: re.search(r'<svg id="picture".*?</svg>', dom, re.DOTALL)[0] for key, dom in doms.items()}
    bars = {key: re.search(r'<svg id="spikes".*?</svg>', dom, re.DOTALL)[0] for key, dom in doms.items()}
    assert bars[1, 1] != bars[40, 1] and "quiescent" in doms[40, 1] and "wake" in doms[1, 1]
    embedded = json.loads((page.read_text().split('type="application/json">')[1]).split("</script>")[0])
    for (t, network), drawn in svg.items():
        boxes = embedded["networks"][network - 1]["runs"][1]["boxes"]
        assert drawn.count('class="box"') == len(boxes[min(t, len(boxes)) - 1])
