"""How numbers and tables look.

Law: short enough for a glance, never misleading: a quantity that is not known is `-`, and counts are not rounded.
"""

from __future__ import annotations

from collections.abc import Sequence

UNKNOWN = "-"


def count(number: int | None) -> str:
    """184220 -> `184,220`."""
    return UNKNOWN if number is None else f"{number:,}"


def size(number: int | None) -> str:
    """Bytes in three digits: 117440512 -> `112M`, 1288490188 -> `1.2G`."""
    if number is None:
        return UNKNOWN
    value = float(number)
    for unit in ("", "K", "M", "G", "T"):
        if value < 1000 or unit == "T":
            break
        value /= 1024
    return f"{value:.1f}{unit}" if unit and value < 10 else f"{value:.0f}{unit}"


def share(used: int, total: int) -> str:
    """`112M/512M`; without a total just `112M`."""
    return f"{size(used)}/{size(total)}" if total else size(used)


def duration(seconds: float | None) -> str:
    """The two largest units: 273600 -> `3d4h`, 7860 -> `2h11m`, 42 -> `42s`."""
    if seconds is None:
        return UNKNOWN
    rest = int(seconds)
    parts: list[str] = []
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        number, rest = divmod(rest, length)
        if number or (unit == "s" and not parts):
            parts.append(f"{number}{unit}")
        elif parts:
            break
    return "".join(parts[:2])


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, right: frozenset[str] = frozenset()) -> list[str]:
    """Lines of a table whose columns are as wide as they must be; those named in `right` are right-aligned."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    lines: list[str] = []
    for row in (headings, *rows):
        cells = [
            cell.rjust(width) if heading in right else cell.ljust(width)
            for heading, cell, width in zip(headings, row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines
