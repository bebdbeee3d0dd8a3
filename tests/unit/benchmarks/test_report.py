"""The form that all benchmarks share."""

import json
import math
from pathlib import Path

from benchmarks.report import Report, host, publish, row, table, versions


def _report() -> Report:
    return Report(
        rows=[row("light.turns_per_s", 5123.456, "turns/s"), row("light.slip", math.nan, "ms")],
        ratios={"pipeline_vs_store": 0.412},
        host={"cpus": 2},
        versions={"kafka": "4"},
    )


def test_the_file_has_the_form_that_others_read(tmp_path: Path) -> None:
    """Rows with name, value and unit, ratios, host and versions; a missing number is null."""
    path = tmp_path / "out" / "report.json"
    publish(_report(), path)
    assert json.loads(path.read_text()) == {
        "rows": [
            {"name": "light.turns_per_s", "value": 5123.0, "unit": "turns/s"},
            {"name": "light.slip", "value": None, "unit": "ms"},
        ],
        "ratios": {"pipeline_vs_store": 0.412},
        "host": {"cpus": 2},
        "versions": {"kafka": "4"},
    }


def test_the_table_is_aligned_and_whole() -> None:
    """One line a row and ratio, units in one column, a dash for a missing number."""
    lines = table(_report()).splitlines()
    assert [line.split() for line in lines] == [
        ["light.turns_per_s", "5,123", "turns/s"],
        ["light.slip", "-", "ms"],
        ["pipeline_vs_store", "0.412", "ratio"],
    ]
    assert len({line.index(unit) for line, unit in zip(lines, ("turns/s", "ms", "ratio"), strict=True)}) == 1


def test_host_and_versions_say_what_took_part() -> None:
    """A number without its machine and versions cannot be compared."""
    assert {"system", "machine", "cpus", "memory_bytes", "load_1m_at_start"} == set(host())
    assert set(versions("numpy")) == {"python", "numpy"}
