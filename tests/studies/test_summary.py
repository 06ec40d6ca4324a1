"""What a study says in words."""

import json

from casc_det.studies.summary import answers, rows, summarise


def test_an_ann_that_detects_next_to_nothing_gives_no_conclusion(tiny_study):
    record = json.loads(json.dumps(tiny_study[1][0]))
    curves, ann = record["result"]["curves"], record["result"]["ann"]
    for value, text, cell in (
        (0.0099, "detects next to nothing", "no mAP"),
        (0.0101, "T = 1 is the first step", "1 ("),
    ):
        ann["mAP50-95"], curves["mAP50-95"] = value, [value] * 40
        record["result"]["gap_95"] = {"1": [0.0, 0.0]}
        summary = summarise([record])
        assert text in answers([record], summary)[0] and rows(summary)[1][1].startswith(cell)


def test_the_first_step_that_is_enough_is_told_from_the_one_that_keeps_it(tiny_study):
    record = json.loads(json.dumps(tiny_study[1][0]))
    curves, record["result"]["ann"]["mAP50-95"] = record["result"]["curves"], 0.5
    record["result"]["gap_95"] = {str(t): [0.0, 0.0] for t in range(1, 41)}
    words = {
        0: "mJ an image",
        3: "; it is kept to T = 40 from T = 6 on",
        40: "; it falls below again, also at the last",
    }
    for low, text in words.items():
        curves["mAP50-95"] = [0.5 if t == 1 or t > low + 1 else 0.2 for t in range(40)]
        summary = summarise([record])
        assert "T = 2 is the first step with 99 %" in (said := answers([record], summary)[0]) and text in said
        assert ("kept to" in said, "falls below" in said) == (low == 3, low == 40)
