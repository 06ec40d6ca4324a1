"""The records of `cells.jsonl`, one a cell: which networks they are of, which are plain, what to call them."""

from casc_det.studies.variants import Variant


def completed(record: dict) -> dict:
    """A record with what those of the first studies lack: their neurons follow ReLU and send unit spikes."""
    result = record["result"]
    if "wake" in result:
        return record
    curves, layers, spikes = result["curves"], result["layers"], result["curves"]["spikes"]
    result = {
        **result,
        "curves": {**curves, "messages": spikes, "payload_bits": spikes},
        "layers": {**layers, "messages": layers["spikes"]},
        "wake": result["levels"],
        "bits_a_message": 1,
    }
    how = variant_of(record)
    recommended = how.rests and not (how.simulation.hysteresis or how.simulation.delay)
    own = {"variant": how.values(), "activation": "relu", "clip": 1.0, "recommended": recommended}
    return {**record, "result": result, **own}


def variant_of(record: dict) -> Variant:
    """The cell that a record is of."""
    return Variant.of(record["variant"])


def network(record: dict) -> str:
    """The name of a record's network."""
    return variant_of(record).network


def identity(record: dict) -> tuple[str, int]:
    """What tells networks apart: files of one name may lie in several folders."""
    return record["variant"]["weights"], record["variant"]["levels"]


def by_network(records: list[dict]) -> list[list[dict]]:
    """The records of each network together, in their order."""
    found: dict[tuple[str, int], list[dict]] = {}
    for record in records:
        found.setdefault(identity(record), []).append(record)
    return list(found.values())


def clean(records: list[dict]) -> list[dict]:
    """Those of undisturbed images."""
    return [record for record in records if not record["variant"]["severity"]]


def plain(records: list[dict]) -> list[dict]:
    """CIF with WSC as the file of a network recommends it, or else the first cell that comes to rest; one for each."""
    resting = [record for record in clean(records) if variant_of(record).rests]
    return [max(mine, key=lambda record: record["recommended"]) for mine in by_network(resting)]


def named(record: dict, records: list[dict]) -> str:
    """The name of a record's network, and what its neurons follow where others follow something else."""
    return network(record) + (f" ({record['activation']})" if len({r["activation"] for r in records}) > 1 else "")


def label(record: dict, records: list[dict]) -> str:
    """What sets a record apart from the others."""
    several = len({identity(r) for r in records}) > 1
    methods = len({r["method"] for r in records}) > 1
    parts = ([named(record, records)] if several else []) + ([record["method"]] if methods or not several else [])
    return ", ".join(parts)


def full_label(record: dict, records: list[dict]) -> str:
    """`label` and what disturbs the images."""
    return label(record, records) + (f", {record['disturbance']}" if record["variant"]["severity"] else "")
