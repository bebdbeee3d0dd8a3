"""The page of all settings, made from the settings themselves.

`python -m streams.settings_page > docs/settings.md` writes it anew.
"""

import dataclasses
import inspect
import re
import typing
from datetime import timedelta
from typing import Any, Literal

from streams.settings import FOREIGN_NAMES, Group, Settings, environment_name

_HEAD = """\
# Settings

Made from `streams/settings.py` by `python -m streams.settings_page > docs/settings.md`; a test compares the two.

A setting is given to a command as `--set GROUP.NAME=VALUE`, or in the environment. What neither says comes from the
stack that runs on this machine (addresses, store, 4 partitions), unless another Kafka is named, and then from the
defaults below. Durations are numbers of seconds, fractions too. A name that begins with `MEMSTREAM_` and does not stand
on this page is refused, and so is a value outside its limits.
"""

_FOREIGN_HEAD = """\
## the native stack

For `demo`, `dev` and `stack`; in the environment only. Every command finds a running stack by `MEMSTREAM_HOME`.

| environment | meaning |
| --- | --- |
"""

_TABLE_HEAD = """\
| setting | environment | default | unit | limits | meaning |
| --- | --- | --- | --- | --- | --- |
"""


def page() -> str:
    """The whole page, as Markdown."""
    groups = [_group(group.name, getattr(Settings(), group.name)) for group in dataclasses.fields(Settings)]
    foreign = "".join(f"| `{name}` | {meaning} |\n" for name, meaning in FOREIGN_NAMES.items())
    return "\n".join([_HEAD, *groups, _FOREIGN_HEAD + foreign])


def limits(field: "dataclasses.Field[Any]") -> tuple[float, float] | None:
    """The least and the most that a number may be (durations in seconds); none for what is no number."""
    if field.type is int:
        return field.metadata.get("min", 1), field.metadata.get("max", float("inf"))
    if field.type is timedelta:
        return typing.cast("tuple[float, float]", field.metadata.get("limits_s", (0.0, float("inf"))))
    return (0.0, 1.0) if field.type is float else None


def meanings(group: type[Group]) -> dict[str, str]:
    """What each field of a group is, by its docstring."""
    attributes = (inspect.getdoc(group) or "").partition("Attributes:\n")[2]
    found = re.findall(r"^    (\w+): (.+(?:\n     +.+)*)", attributes, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def _group(name: str, group: Group) -> str:
    summary = (inspect.getdoc(group) or "").partition("\n\nAttributes:")[0]
    said = meanings(type(group))
    rows = [
        f"| `{name}.{f.name}` | `{environment_name(name, f.name)}` | {_default(getattr(group, f.name))} | {_unit(f)} |"
        f" {_limits(f)} | {said[f.name]}{' Masked when printed.' if f.metadata.get('secret') else ''} |\n"
        for f in dataclasses.fields(group)
    ]
    return f"## {name}\n\n{summary}\n\n{_TABLE_HEAD}{''.join(rows)}"


def _default(value: Any) -> str:
    if isinstance(value, timedelta):
        return f"`{value.total_seconds():g}`"
    return f"`{value}`" if value != "" else "empty"


def _unit(field: "dataclasses.Field[Any]") -> str:
    if field.type is timedelta:
        return "s"
    if field.type is float:
        return "ratio"
    counted = field.name.rpartition("_")[2]  # max_events: events
    return counted if field.type is int and counted.endswith("s") else ""


def _limits(field: "dataclasses.Field[Any]") -> str:
    if typing.get_origin(field.type) is Literal:
        return "one of " + ", ".join(f"`{choice}`" for choice in typing.get_args(field.type))
    if (bounds := limits(field)) is None:
        return ""
    least, most = bounds
    if field.type is float:
        return f"above {least:g}, up to {most:g}"
    return f"at least {least:g}" if most == float("inf") else f"{least:g} to {most:g}"


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201  (into the file)
