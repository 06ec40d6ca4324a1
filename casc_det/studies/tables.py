"""Tables of a study: `curves.csv`, a line for each cell and step, and `policies.csv`, one for each cell and policy."""

from pathlib import Path

from casc_det.base.files import write_csv

CURVES, POLICIES = "curves.csv", "policies.csv"


def write_tables(folder: Path, records: list[dict]) -> None:
    """Write both tables; one without rows is left out."""
    for file, rows in ((CURVES, curve_rows(records)), (POLICIES, policy_rows(records))):
        if rows:
            write_csv(folder / file, rows[0], rows)


def curve_rows(records: list[dict]) -> list[dict]:
    """Variant, every curve, and the ANN's numbers."""
    rows = []
    for record in records:
        curves = record["result"]["curves"]
        ann = {f"ann_{key}": record["result"]["ann"][key] for key in ("mAP50-95", "mAP50", "energy_mJ")}
        for values in zip(*curves.values(), strict=True):
            rows.append({**columns(record), **dict(zip(curves, values, strict=True)), **ann})
    return rows


def policy_rows(records: list[dict]) -> list[dict]:
    """Variant, and what each policy reaches and costs."""
    return [{**columns(record), **policy} for record in records for policy in record["result"]["policies"]]


def columns(record: dict) -> dict:
    """The variant of a record, with the Q that its network has."""
    return {**record["variant"], "levels": record["result"]["levels"]}
