"""Lines out of a stream of bytes, numbered, in bounded memory however long a line is. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """One line that is not blank.

    Attributes:
        number: 1 for the first line of the stream.
        value: without surrounding white space; none when it was longer than allowed.
        size_bytes: how long it was.
    """

    number: int
    value: bytes | None
    size_bytes: int


class LineSplitter:
    """Cuts chunks of bytes into lines.

    Guarantees: never holds more than one chunk and `max_bytes` of an unfinished line.

    Args:
        max_bytes: longer lines are passed over and reported as such.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._number = 0
        self._rest = b""
        self._dropped_bytes = 0

    def feed(self, chunk: bytes) -> Iterator[Line]:
        """The lines that this chunk ends."""
        *whole, rest = chunk.split(b"\n")
        for piece in whole:
            yield from self._line(piece)
        if len(self._rest) + len(rest) > self._max_bytes:
            self._dropped_bytes += len(self._rest) + len(rest)
            self._rest = b""
        else:
            self._rest += rest

    def end(self) -> Iterator[Line]:
        """The last line, when no newline ends it."""
        yield from self._line(b"")

    def _line(self, piece: bytes) -> Iterator[Line]:
        self._number += 1
        size_bytes = self._dropped_bytes + len(self._rest) + len(piece)
        value = (self._rest + piece).strip()
        too_long = size_bytes > self._max_bytes
        self._rest, self._dropped_bytes = b"", 0
        if too_long:
            yield Line(self._number, None, size_bytes)
        elif value:
            yield Line(self._number, value, size_bytes)
