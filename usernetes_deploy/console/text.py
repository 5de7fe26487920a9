"""Text for people: tables."""

from __future__ import annotations


def table(rows: list[list[str]]) -> str:
    """Columns as wide as they need to be, for people.

    >>> print(table([["NAME", "NODES"], ["demo", "3"]]))
    NAME  NODES
    demo  3
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
