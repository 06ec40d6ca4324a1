"""How each op of a captured network is carried over to spike trains: exactly, as temporal difference, or not at all."""

from dataclasses import dataclass

from casc_det import graph as g
from casc_det.conversion.amplitudes import amplitudes_of
from casc_det.errors import ConversionError

EXACT, TEMPORAL, REFUSED = "exact", "temporal difference", "refused"


@dataclass(frozen=True)
class AuditRow:
    """How one op of the captured graph is carried over. `status` is "exact", "temporal difference" or "refused"."""

    name: str
    op: str
    status: str
    note: str = ""


class AuditError(ConversionError):
    """Some ops cannot be converted; `audit` lists all ops."""

    def __init__(self, message: str, audit: list[AuditRow]) -> None:
        super().__init__(message)
        self.audit = audit


def audit(graph: g.Graph) -> list[AuditRow]:
    """How each op of a captured graph would be carried over; nothing is left out."""
    amplitudes = amplitudes_of(graph)
    rows = []
    for node, place in graph.places():
        temporal = node.spiking is g.Spiking.TEMPORAL and node.graded
        status, note = TEMPORAL if temporal else EXACT, node.note
        problem = node.problem(place, [amplitudes.get(name) for name in node.inputs])
        if missing := g.lacking(type(node)):
            problem = f"the op lacks rules ({', '.join(missing)}); give it those that casc_det.graph.node asks for"
        if problem:
            status, note = REFUSED, problem
        rows.append(AuditRow(node.name, node.label, status, note))
    return rows


def format_audit(rows: list[AuditRow]) -> str:
    """A table of the audit: one line for each op type, status and note; those that are not exact last, with names."""
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for row in sorted(rows, key=lambda row: row.status != EXACT):
        grouped.setdefault((row.op, row.status, row.note), []).append(row.name)
    lines = []
    for (op, status, note), names in grouped.items():
        named = f"  [{', '.join(names[:3])}{', ...' if len(names) > 3 else ''}]" if status != EXACT else ""
        lines.append(f"{len(names):4d} x {op:<12} {status:<20} {note}{named}")
    return "\n".join(lines)
