"""Tables of a study: `cells.csv`, a line for each cell, `curves.csv`, one for each cell and step, `layers.csv`, one for
each cell and neuron layer, and `policies.csv`, one for each cell and policy."""

from pathlib import Path

from casc_det.base.files import write_csv
from casc_det.studies.records import variant_of

CELLS, CURVES, LAYERS, POLICIES = "cells.csv", "curves.csv", "layers.csv", "policies.csv"


def write_tables(folder: Path, records: list[dict], summary: list[dict]) -> None:
    """Write all tables; one without rows is left out. summary: of the records, see `casc_det.studies.summary`."""
    tables = {
        CELLS: cell_rows(records, summary),
        CURVES: curve_rows(records),
        LAYERS: layer_rows(records),
        POLICIES: policy_rows(records),
    }
    for file, rows in tables.items():
        if rows:
            write_csv(folder / file, rows[0], rows)


def cell_rows(records: list[dict], summary: list[dict]) -> list[dict]:
    """Variant, and what 99 % of the ANN's mAP and quiescence take; empty where they are not reached."""
    rows = []
    for record, entry in zip(records, summary, strict=True):
        facts = {key: entry[key] for key in ("pictures", "neurons", "T_last")}
        reached = entry["reached"]["99%"]
        first = price("99%", reached["first"], ("T",)) | price("99%_kept", reached["kept"], ("T",))
        rest = price("quiescent", entry["rest"], ("pictures", "first", "mean", "last"))
        rows.append({**columns(record), **facts, **ann_columns(record), **first, **rest})
    return rows


def price(name: str, point: dict | None, keys: tuple[str, ...]) -> dict:
    """What a point of a summary takes, under `name`."""
    costs = ("energy_mJ", "energy_of_ann", "spikes_a_neuron", "messages_a_neuron", "payload_bits_a_neuron")
    return {f"{name}_{key}": point[key] if point else None for key in (*keys, *costs)}


def curve_rows(records: list[dict]) -> list[dict]:
    """Variant, every curve, and the ANN's numbers."""
    rows = []
    for record in records:
        curves, fixed, ann = record["result"]["curves"], columns(record), ann_columns(record)
        for values in zip(*curves.values(), strict=True):
            rows.append({**fixed, **dict(zip(curves, values, strict=True)), **ann})
    return rows


def layer_rows(records: list[dict]) -> list[dict]:
    """Variant, and what each neuron layer has sent up to the last step, as means over the images; `ann_counts`: the
    ANN's counts, by magnitude."""
    rows = []
    for record in records:
        layers, bits, fixed = record["result"]["layers"], record["result"]["bits_a_message"], columns(record)
        last = {"T": record["result"]["curves"]["T"][-1]}
        for i, name in enumerate(layers["names"]):
            sent = {key: layers[key][i][-1] for key in ("spikes", "messages")}
            of_layer = {"layer": name, "neurons": layers["neurons"][i], "ann_counts": layers["ann_counts"][i]}
            rows.append({**fixed, **last, **of_layer, **sent, "payload_bits": sent["messages"] * bits})
    return rows


def policy_rows(records: list[dict]) -> list[dict]:
    """Variant, and what each policy reaches and costs."""
    return [{**columns(record), **policy} for record in records for policy in record["result"]["policies"]]


def columns(record: dict) -> dict:
    """The variant of a record, with the Q that its network has, what its neurons follow, and its wake."""
    result = record["result"]
    own = {"levels": result["levels"], "activation": record["activation"], "wake": result["wake"]}
    return {**variant_of(record).values(), **own}


def ann_columns(record: dict) -> dict:
    """The ANN's mAP and energy."""
    return {f"ann_{key}": record["result"]["ann"][key] for key in ("mAP50-95", "mAP50", "energy_mJ")}
