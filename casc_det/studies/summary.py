"""What a study says in words and in one table: how many time steps, at what price, and why."""

from casc_det.base.terminal import aligned
from casc_det.studies.curves import ENOUGH, LEAST_MAP, smallest_step
from casc_det.studies.records import full_label, identity, network, plain, variant_of


def summarise(records: list[dict]) -> list[dict]:
    """For each cell: the steps with 99 % and 100 % of the ANN's mAP50-95, and their price.

    Returns:
        Dictionaries with `name`, `network`, `method`, `disturbance`, `levels`, `pictures`, `ann`, `best` (largest
        mAP50-95), `T_last` (the last step simulated), `reached` ({"99%": {"first": point, "kept": point}, ...};
        a point is {"T", "energy_mJ", "gap_95"}, or None where it is not reached by `T_last` or the ANN's mAP is below
        `LEAST_MAP`; kept: and does not fall below again up to `T_last`), `rest` ({"pictures", "first", "last",
        "energy_mJ"} or None).
    """
    return [summary_of(record, full_label(record, records)) for record in records]


def summary_of(record: dict, name: str) -> dict:
    """One entry of `summarise`."""
    result, curves = record["result"], record["result"]["curves"]
    rests = [t for t in result["steps_to_rest"] if t]
    rest = {"pictures": len(rests), "first": min(rests), "last": max(rests)} if rests else None
    return {
        "name": name,
        "network": network(record),
        "method": record["method"],
        "disturbance": record["disturbance"],
        "levels": result["levels"],
        "pictures": result["pictures"],
        "ann": result["ann"],
        "best": max(curves["mAP50-95"]),
        "reached": {
            f"{share:.0%}": {
                kind: _point(result, smallest_step(result, share, kept))
                for kind, kept in (("first", False), ("kept", True))
            }
            for share in ENOUGH
        },
        "T_last": curves["T"][-1],
        "rest": rest and rest | {"energy_mJ": curves["energy_mJ"][-1]},
    }


def rows(summary: list[dict]) -> list[list[str]]:
    """The cells of `summarise` in words, a row each, below a row of heads."""
    kept = f"kept to T = {summary[0]['T_last']}"
    heads = ["cell; T (mJ an image)", "99 %", kept, "100 %", kept, "quiescent", "largest mAP", "ANN"]
    return [heads, *map(row_of, summary)]


def row_of(entry: dict) -> list[str]:
    """One row of `rows`."""
    rest, ann, beyond = entry["rest"], entry["ann"], f">{entry['T_last']}"
    none = beyond if ann["mAP50-95"] >= LEAST_MAP else "no mAP"
    points = [entry["reached"][share][kind] for share in ("99%", "100%") for kind in ("first", "kept")]
    steps = [f"{point['T']} ({point['energy_mJ']:.2f})" if point else none for point in points]
    end = f"{rest['first']}-{rest['last']} ({rest['energy_mJ']:.2f})" if rest else beyond
    end += f", {rest['pictures']} of {entry['pictures']}" if rest and rest["pictures"] < entry["pictures"] else ""
    last = [f"{entry['best']:.4f}", f"{ann['mAP50-95']:.4f} ({ann['energy_mJ']:.2f})"]
    return [entry["name"], *steps, end, *last]


def table(summary: list[dict]) -> str:
    """`rows` as plain text."""
    return aligned(rows(summary))


def _point(result: dict, t: int | None) -> dict | None:
    if t is None:
        return None
    energy = result["curves"]["energy_mJ"][result["curves"]["T"].index(t)]
    return {"T": t, "energy_mJ": energy, "gap_95": result["gap_95"][str(t)]}


def answers(records: list[dict], summary: list[dict]) -> list[str]:
    """The question of a study, answered for each network: how many steps, what they cost, why, and how sure that is."""
    result = []
    clean = [(record, entry) for record, entry in zip(records, summary, strict=True) if entry["disturbance"] == "clean"]
    for own in dict.fromkeys(identity(record) for record, _ in clean):
        mine = [(record, entry) for record, entry in clean if identity(record) == own]
        result.append(_answer(mine))
        result += map(_why, plain([record for record, _ in mine]))
    return result


def _answer(cells: list[tuple[dict, dict]]) -> str:
    """The fastest and the cheapest cell of a network with 99 % of the ANN's mAP, and what the ANN's answer takes."""
    entries = [entry for _, entry in cells]
    name, ann, images = (entries[0][key] for key in ("network", "ann", "pictures"))
    whole = f"the ANN's mAP50-95 ({ann['mAP50-95']:.4f})"
    if ann["mAP50-95"] < LEAST_MAP:
        return (
            f"{name}: the ANN itself detects next to nothing on these {images} images (mAP50-95 "
            f"{ann['mAP50-95']:.2g}, less than {LEAST_MAP:g}), so no number of time steps can be held against it; is "
            "it trained, and are these the right weights, images and class names?"
        )
    found = [(entry["reached"]["99%"]["first"], entry) for entry in entries if entry["reached"]["99%"]["first"]]
    if not found:
        last = entries[0]["T_last"]
        return f"{name}: no cell has 99 % of {whole} at a time step up to T = {last}, the last one simulated."
    fast, by = min(found, key=lambda pair: (pair[0]["T"], pair[0]["energy_mJ"]))
    low, high = fast["gap_95"]
    text = f"{name}: T = {fast['T']} is the first step with 99 % of {whole}, with {by['method']}, for "
    text += _price(fast, ann) + _kept(by, fast)
    text += f" ({images} images: the gap to the ANN has a 95 % interval of {low:+.4f} to {high:+.4f})."
    cheap, by = min(found, key=lambda pair: pair[0]["energy_mJ"])
    if cheap is not fast:
        text += f" Cheapest are {_price(cheap, ann)} with {by['method']} at T = {cheap['T']}."
    exact = [entry for record, entry in cells if variant_of(record).rests and entry["rest"]]
    exact = [entry for entry in exact if entry["rest"]["pictures"] == images]
    if exact:
        best = min(exact, key=lambda entry: entry["rest"]["energy_mJ"])
        rest = best["rest"]
        text += f" The ANN's own answer, box for box, comes at quiescence: with {best['method']} after "
        text += f"{rest['first']} to {rest['last']} steps, for {_price(rest, ann)}."
    return text


def _kept(entry: dict, first: dict) -> str:
    """From which step on the 99 % are kept, where that is not the first one that has them."""
    kept, last = entry["reached"]["99%"]["kept"], entry["T_last"]
    if kept is None:
        return f"; it falls below again, also at the last step, T = {last}"
    return "" if kept["T"] == first["T"] else f"; it is kept to T = {last} from T = {kept['T']} on"


def _price(point: dict, ann: dict) -> str:
    return f"{point['energy_mJ']:.2f} mJ an image ({point['energy_mJ'] / ann['energy_mJ']:.2f} of the ANN's)"


def _why(record: dict) -> str:
    """Why it takes time: what wake leaves to be corrected."""
    result, curves = record["result"], record["result"]["curves"]
    k = min(range(len(curves["T"])), key=lambda i: abs(curves["T"][i] - result["levels"]))
    spikes, taken = curves["spikes"][-1], curves["taken_back"][-1]
    more, fewer = (f"{curves[key][k]:.1%}" for key in ("more", "fewer"))
    return (
        f"Why it takes time: at T = {curves['T'][k]} (wake ends at Q = {result['levels']}) {more} of the neurons of "
        f"{network(record)} have sent more and {fewer} fewer spikes than the ANN asks for; sleep corrects them. In all "
        f"{taken / max(spikes, 1e-9):.0%} of the spikes take an earlier one back."
    )
