"""What a study says in words and in two tables: how many time steps, at what price, and why."""

from casc_det.base.terminal import aligned
from casc_det.studies.curves import ENOUGH, LEAST_MAP, smallest_step
from casc_det.studies.records import full_label, identity, named, network, plain, variant_of


def summarise(records: list[dict]) -> list[dict]:
    """For each cell: the steps with 99 % and 100 % of the ANN's mAP50-95, and their price.

    Returns:
        Dictionaries with `name`, `network`, `activation`, `method`, `burst`, `ramp`, `disturbance`, `levels`, `wake`,
        `pictures`, `neurons`, `ann`, `best` (largest mAP50-95), `T_last` (the last step simulated), `reached` ({"99%":
        {"first": point, "kept": point}, ...}; a point is {"T", "gap_95"} and `costs`, or None where it is not reached
        by `T_last` or the ANN's mAP is below `LEAST_MAP`; kept: and does not fall below again up to `T_last`), `rest`
        ({"pictures", "first", "last", "mean"} and `costs` at `T_last`, or None).
    """
    return [summary_of(record, full_label(record, records)) for record in records]


def summary_of(record: dict, name: str) -> dict:
    """One entry of `summarise`."""
    result, curves, how = record["result"], record["result"]["curves"], variant_of(record).simulation
    rests = [t for t in result["steps_to_rest"] if t]
    ends = {"first": min(rests), "last": max(rests), "mean": sum(rests) / len(rests)} if rests else {}
    return {
        "name": name,
        "network": network(record),
        "activation": record["activation"],
        "method": record["method"],
        "burst": how.burst,
        "ramp": how.ramp,
        "disturbance": record["disturbance"],
        "levels": result["levels"],
        "wake": result["wake"],
        "pictures": result["pictures"],
        "neurons": sum(result["layers"]["neurons"]),
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
        "rest": {"pictures": len(rests), **ends, **costs(result, curves["T"][-1])} if rests else None,
    }


def costs(result: dict, t: int) -> dict:
    """What an image has cost after step `t`: {"energy_mJ", "energy_of_ann" (None: the ANN's is 0), "spikes_a_neuron",
    "messages_a_neuron", "payload_bits_a_neuron"}; spikes are unit spikes."""
    curves, neurons, ann = result["curves"], sum(result["layers"]["neurons"]), result["ann"]["energy_mJ"]
    k = curves["T"].index(t)
    energy = curves["energy_mJ"][k]
    sent = {f"{name}_a_neuron": curves[name][k] / neurons for name in ("spikes", "messages", "payload_bits")}
    return {"energy_mJ": energy, "energy_of_ann": energy / ann if ann else None, **sent}


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


def price_rows(summary: list[dict]) -> list[list[str]]:
    """What 99 % of the ANN's mAP and quiescence take, a row each, below a row of heads."""
    each = ["spikes", "messages", "energy"]
    return [["cell; a neuron", "wake", "99 %: T", *each, "quiescent: mean T", *each], *map(price_row, summary)]


def price_row(entry: dict) -> list[str]:
    """One row of `price_rows`."""
    first, rest = entry["reached"]["99%"]["first"], entry["rest"]
    steps = [first and str(first["T"]), rest and f"{rest['mean']:.1f}"]
    prices = [
        [time, *(_short(point[key]) for key in ("spikes_a_neuron", "messages_a_neuron", "energy_of_ann"))]
        if point
        else [f">{entry['T_last']}", "", "", ""]
        for time, point in zip(steps, (first, rest), strict=True)
    ]
    return [entry["name"], str(entry["wake"]), *prices[0], *prices[1]]


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


PRICES = "spikes: unit spikes a neuron and image; messages: how often it sends any; energy: in that of the ANN"


def tables(summary: list[dict]) -> str:
    """`rows` and `price_rows` as plain text."""
    return "\n".join([aligned(rows(summary)), "", aligned(price_rows(summary)), f"({PRICES})", ""])


def _point(result: dict, t: int | None) -> dict | None:
    return None if t is None else {"T": t, "gap_95": result["gap_95"][str(t)], **costs(result, t)}


def answers(records: list[dict], summary: list[dict]) -> list[str]:
    """The question of a study, answered for each network: how many steps, what they cost, why, and how sure that is;
    and whether its spikes are spikes, where that was looked at."""
    result = []
    clean = [(record, entry) for record, entry in zip(records, summary, strict=True) if entry["disturbance"] == "clean"]
    for own in dict.fromkeys(identity(record) for record, _ in clean):
        mine = [(record, entry) for record, entry in clean if identity(record) == own]
        name = named(mine[0][0], records)
        result.append(f"{name}: {_answer(mine)}")
        for record in plain([record for record, _ in mine]):
            how = f"{name}, {variant_of(record).method}"
            result.append(_why(record, how))
            result += [f"What {how} reads: {record['reads']['summary']}."] if "reads" in record else []
    return result


def _answer(cells: list[tuple[dict, dict]]) -> str:
    """The fastest and the cheapest cell of a network with 99 % of the ANN's mAP, and what the ANN's answer takes."""
    entries = [entry for _, entry in cells]
    ann, images = entries[0]["ann"], entries[0]["pictures"]
    whole = f"the ANN's mAP50-95 ({ann['mAP50-95']:.4f})"
    if ann["mAP50-95"] < LEAST_MAP:
        return (
            f"the ANN itself detects next to nothing on these {images} images (mAP50-95 "
            f"{ann['mAP50-95']:.2g}, less than {LEAST_MAP:g}), so no number of time steps can be held against it; is "
            "it trained, and are these the right weights, images and class names?"
        )
    found = [(entry["reached"]["99%"]["first"], entry) for entry in entries if entry["reached"]["99%"]["first"]]
    if not found:
        last = entries[0]["T_last"]
        return f"no cell has 99 % of {whole} at a time step up to T = {last}, the last one simulated."
    fast, by = min(found, key=lambda pair: (pair[0]["T"], pair[0]["energy_mJ"]))
    low, high = fast["gap_95"]
    text = f"T = {fast['T']} is the first step with 99 % of {whole}, with {by['method']}, for "
    text += _price(fast) + _kept(by, fast)
    text += f" ({images} images: the gap to the ANN has a 95 % interval of {low:+.4f} to {high:+.4f})."
    cheap, by = min(found, key=lambda pair: pair[0]["energy_mJ"])
    if cheap is not fast:
        text += f" Cheapest are {_price(cheap)} with {by['method']} at T = {cheap['T']}."
    exact = [entry for record, entry in cells if variant_of(record).rests and entry["rest"]]
    exact = [entry for entry in exact if entry["rest"]["pictures"] == images]
    if exact:
        best = min(exact, key=lambda entry: entry["rest"]["energy_mJ"])
        rest = best["rest"]
        text += f" The ANN's own answer, box for box, comes at quiescence: with {best['method']} after "
        text += f"{rest['first']} to {rest['last']} steps, for {_price(rest)}."
    return text


def _kept(entry: dict, first: dict) -> str:
    """From which step on the 99 % are kept, where that is not the first one that has them."""
    kept, last = entry["reached"]["99%"]["kept"], entry["T_last"]
    if kept is None:
        return f"; it falls below again, also at the last step, T = {last}"
    return "" if kept["T"] == first["T"] else f"; it is kept to T = {last} from T = {kept['T']} on"


def _price(point: dict) -> str:
    share = "" if point["energy_of_ann"] is None else f" ({point['energy_of_ann']:.2f} of the ANN's)"
    return f"{point['energy_mJ']:.2f} mJ an image{share}"


def _why(record: dict, name: str) -> str:
    """Why it takes time: what wake leaves to be corrected."""
    result, curves = record["result"], record["result"]["curves"]
    k = min(range(len(curves["T"])), key=lambda i: abs(curves["T"][i] - result["wake"]))
    spikes, taken = curves["spikes"][-1], curves["taken_back"][-1]
    more, fewer = (f"{curves[key][k]:.1%}" for key in ("more", "fewer"))
    return (
        f"Why it takes time: at T = {curves['T'][k]} (wake ends at T = {result['wake']}) {more} of the neurons of "
        f"{name} have sent more and {fewer} fewer spikes than the ANN asks for; sleep corrects them. In all "
        f"{taken / max(spikes, 1e-9):.0%} of the spikes take an earlier one back."
    )
