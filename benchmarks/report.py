"""The form in which every benchmark reports: a table for people, one JSON document for programs."""

import math
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec


class Row(msgspec.Struct, frozen=True):
    """One number.

    Attributes:
        name: dotted, the stack first.
        value: none where there is nothing to tell.
        unit: of the value; `bool` is 1 or 0.
    """

    name: str
    value: float | None
    unit: str


class Report(msgspec.Struct, frozen=True):
    """What a benchmark found.

    Attributes:
        rows: in reading order.
        ratios: numbers without a unit: they carry over to other machines, rows do not.
        host: where it ran.
        versions: of what took part.
    """

    rows: list[Row]
    ratios: dict[str, float]
    host: dict[str, str | int | float]
    versions: dict[str, str]


def row(name: str, value: float, unit: str) -> Row:
    """A row with four significant digits, which is more than any benchmark here can repeat."""
    return Row(name, None if math.isnan(value) else float(f"{value:.4g}"), unit)


def host() -> dict[str, str | int | float]:
    """The machine, and how busy it is right now: a shared one explains many a number."""
    return {
        "system": platform.platform(),
        "machine": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load_1m_at_start": round(os.getloadavg()[0], 2),
    }


def versions(*distributions: str) -> dict[str, str]:
    """Python's version and those of installed distributions."""
    return {"python": platform.python_version()} | {name: version(name) for name in distributions}


def table(report: Report) -> str:
    """Rows and ratios as aligned text."""
    numbers = [(r.name, _number(r.value), r.unit) for r in report.rows]
    numbers += [(name, _number(value), "ratio") for name, value in report.ratios.items()]
    return "\n".join(_aligned(numbers))


def write(report: Report, path: Path) -> None:
    """Write the JSON form.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")


def publish(report: Report, path: Path | None) -> None:
    """Print the table on standard output and write the file, if one is wanted."""
    sys.stdout.write(table(report) + "\n")
    if path is not None:
        write(report, path)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.4g}"


def _aligned(lines: Sequence[tuple[str, str, str]]) -> list[str]:
    widths = [max((len(line[column]) for line in lines), default=0) for column in (0, 1)]
    return [f"{name:<{widths[0]}}  {number:>{widths[1]}}  {unit}" for name, number, unit in lines]
