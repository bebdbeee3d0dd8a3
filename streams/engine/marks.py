"""Marks: what Kafka keeps beside a committed position for us, so that a process's death leaves a trace.

A commit of offsets carries a few bytes of metadata for each partition. A mark in them survives the process, the host
and the assignment, and the next commit that moves the position replaces it: what is marked is always what comes next.
"""

import msgspec


class Mark(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known about the records behind a position that nobody has got past.

    Attributes:
        crashes: processes that began with them and neither finished, nor failed in passing, nor left in order.
        alone: those of them that died with the very first of these records as their only one.
        until: records below this offset are tried one by one; 0 for none.
    """

    crashes: int = 0
    alone: int = 0
    until: int = 0

    def begun(self, offset: int) -> "Mark":
        """As long as one more process works on the record at this offset and on those behind it."""
        if offset < self.until:
            return Mark(alone=self.alone + 1, until=self.until)
        return Mark(crashes=self.crashes + 1)

    def to_text(self) -> str:
        """As metadata of an offset; nothing for the mark that says nothing."""
        return "" if self == NOTHING else msgspec.json.encode(self).decode()


NOTHING = Mark()
"""Nothing is known, which is how it mostly is."""


def from_text(text: str | None) -> Mark:
    """The mark in an offset's metadata; somebody else's metadata says nothing to us."""
    try:
        return msgspec.json.decode(text or "{}", type=Mark)
    except msgspec.DecodeError:
        return NOTHING
