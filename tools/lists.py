"""Lists on the command line of scripts."""


def listed(value: object) -> list:
    """`8`, `8,16` or `relu,silu` as a list, integers where they are; none: empty."""
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, tuple | list) else [value]
    return [int(part) if str(part).isdigit() else part for part in parts if part is not None]
