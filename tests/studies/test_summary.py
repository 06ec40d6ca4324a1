"""What a study says in words."""

import json

from casc_det.studies.summary import answers, rows, summarise


def test_an_ann_that_detects_next_to_nothing_gives_no_conclusion(tiny_study):
    record = json.loads(json.dumps(tiny_study[1][0]))
    curves, ann = record["result"]["curves"], record["result"]["ann"]
    for value, text, cell in ((0.0099, "detects next to nothing", "no mAP"), (0.0101, "T = 1 is enough", "1 (")):
        ann["mAP50-95"], curves["mAP50-95"] = value, [value] * 40
        record["result"]["gap_95"] = {"1": [0.0, 0.0]}
        summary = summarise([record])
        assert text in answers([record], summary)[0] and rows(summary)[1][1].startswith(cell)
