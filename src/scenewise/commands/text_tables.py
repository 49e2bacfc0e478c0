"""Tables for people, in plain text."""

from collections.abc import Collection, Sequence


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()) -> str:
    """Columns as wide as they must be, two spaces apart.

    >>> print(text_table(("name", "points"), [("hall", "1,234"), ("the kitchen", "7")], right=("points",)))
    name         points
    hall          1,234
    the kitchen       7
    """
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            text.rjust(width) if title in right else text.ljust(width) for text, width, title in zip(row, widths, head)
        ).rstrip()
        for row in (head, *rows)
    )
