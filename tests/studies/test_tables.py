"""Tables of a study."""

import csv


def test_tables_of_curves_and_policies_have_the_same_keys(tiny_study):
    folder, records = tiny_study
    with (folder / "curves.csv").open() as curves, (folder / "policies.csv").open() as policies:
        keys = [
            {tuple(row[key] for key in records[0]["variant"]) for row in csv.DictReader(f)} for f in (curves, policies)
        ]
    assert keys[0] == keys[1] and len(keys[0]) == len(records)
    assert {key[list(records[0]["variant"]).index("levels")] for key in keys[0]} == {"4"}
