"""The records of `cells.jsonl`, one a cell: which networks they are of, which are plain, what to call them."""

from casc_det.studies.variants import Variant


def variant_of(record: dict) -> Variant:
    """The cell that a record is of."""
    return Variant.of(record["variant"])


def network(record: dict) -> str:
    """The name of a record's network."""
    return variant_of(record).network


def identity(record: dict) -> tuple[str, int]:
    """What tells networks apart: files of one name may lie in several folders."""
    return record["variant"]["weights"], record["variant"]["levels"]


def clean(records: list[dict]) -> list[dict]:
    """Those of undisturbed images."""
    return [record for record in records if not record["variant"]["severity"]]


def plain(records: list[dict]) -> list[dict]:
    """CIF with WSC and nothing else changed, one for each network."""
    return [record for record in records if variant_of(record).plain]


def label(record: dict, records: list[dict]) -> str:
    """What sets a record apart from the others."""
    several = len({identity(r) for r in records}) > 1
    methods = len({r["method"] for r in records}) > 1
    parts = ([network(record)] if several else []) + ([record["method"]] if methods or not several else [])
    return ", ".join(parts)


def full_label(record: dict, records: list[dict]) -> str:
    """`label` and what disturbs the images."""
    return label(record, records) + (f", {record['disturbance']}" if record["variant"]["severity"] else "")
