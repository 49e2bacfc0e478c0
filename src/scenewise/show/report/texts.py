"""Names and values as a reader of the report sees them."""

from typing import Any


def words(name: str) -> str:
    """A name of the code or of a file, with spaces."""
    return name.replace("_", " ")


def number_text(value: Any) -> str:
    """A value with the digits worth reading; a dash for None."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        size = abs(value)
        if size >= 1e4:
            return f"{value:,.0f}"
        return f"{value:.2f}" if size >= 10.0 else f"{value:.4f}" if size >= 0.01 or size == 0.0 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and abs(value) >= 10_000 else str(value)
