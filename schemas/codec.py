"""Bytes to events and back, with a size limit and errors that say what is wrong.

Public topics are JSON, internal ones MessagePack. Decoding is strict about types, lenient about unknown fields, and
brings older versions up to date (`schemas.evolution`).
"""

import re
from typing import Any, Generic, Literal, TypeVar, get_args

import msgspec

from schemas.candidate import CandidateRecord, EmbeddedRecord
from schemas.conversation import AnyConversationEvent
from schemas.evolution import CURRENT_VERSIONS, FutureVersionError, upcast
from schemas.indexed import Indexed
from schemas.memory import ChangesRecord, Head
from schemas.outcome import DlqRecord, LedgerEntry, Reason
from schemas.window import Window

T = TypeVar("T")

TAG_FIELD = "type"
"""Every record type of ours names itself here."""

_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
"""What decoding foreign bytes may raise: `ValueError` covers text that is no UTF-8, `RecursionError` brackets nested a
thousand deep, which are a few bytes each and would otherwise stop whoever reads them."""

MAX_EVENT_BYTES = 256 * 1024
"""Largest conversation event that is taken, as bytes on the wire; a setting of the worker may lower or raise it."""


class DecodeError(ValueError):
    """The bytes are no event of this topic.

    Attributes:
        reason: how the ledger and the dead-letter topic call it.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Codec(Generic[T]):
    """Encodes and decodes the records of one topic.

    Args:
        record_type: a tagged struct or a union of them.
        encoding: `json` (public topics) or `msgpack` (internal ones).
        max_bytes: larger records are refused as oversize; none means the topic's own limit is enough.
    """

    def __init__(self, record_type: Any, encoding: Literal["json", "msgpack"], *, max_bytes: int | None = None) -> None:
        self.record_type = record_type
        self.encoding = encoding
        self.max_bytes = max_bytes
        self._versions = _versions_of(record_type)
        if encoding == "json":
            self._encoder: msgspec.json.Encoder | msgspec.msgpack.Encoder = msgspec.json.Encoder()
            self._decoder: Any = msgspec.json.Decoder(record_type)
            self._plain_decoder: Any = msgspec.json.Decoder()
        else:
            self._encoder = msgspec.msgpack.Encoder()
            self._decoder = msgspec.msgpack.Decoder(record_type)
            self._plain_decoder = msgspec.msgpack.Decoder()

    def limited_to(self, max_bytes: int) -> "Codec[T]":
        """The same codec with another size limit."""
        return Codec(self.record_type, self.encoding, max_bytes=max_bytes)

    def encode(self, record: T) -> bytes:
        """The bytes of a record, always with its version."""
        return self._encoder.encode(record)

    def decode(self, raw: bytes | None) -> T:
        """The record in these bytes, at its type's current version.

        Raises:
            DecodeError: oversize, undecodable, or of a version or type this code does not know; whoever consumes
                dead-letters the bytes. The message names the place and never quotes content.
        """
        if raw is None:
            raise DecodeError(Reason.UNDECODABLE, "the record has no value")
        if self.max_bytes is not None and len(raw) > self.max_bytes:
            raise DecodeError(Reason.OVERSIZE, f"{len(raw)} bytes, the limit is {self.max_bytes}")
        try:
            record: T = self._decoder.decode(raw)
        except _UNREADABLE as error:
            return self._decode_slowly(raw, error)
        if record.v != self._versions[type(record)]:  # type: ignore[attr-defined]
            return self._decode_slowly(raw, None)
        return record

    def _decode_slowly(self, raw: bytes, error: Exception | None) -> T:
        """Another version, or no event at all: read it untyped, bring it up to date, read it again."""
        try:
            body = self._plain_decoder.decode(raw)
        except _UNREADABLE as broken:
            raise DecodeError(Reason.UNDECODABLE, _without_content(broken)) from None
        if not isinstance(body, dict):
            raise DecodeError(Reason.UNDECODABLE, f"expected an object, got {type(body).__name__}")
        tag = body.get(TAG_FIELD)
        if isinstance(tag, str) and tag not in CURRENT_VERSIONS:
            named = repr(tag) if tag.isidentifier() and len(tag) <= 32 else f"of {len(tag)} characters"
            raise DecodeError(Reason.UNSUPPORTED_VERSION, f"unknown {TAG_FIELD} {named}")
        try:
            current = upcast(body)
        except FutureVersionError as future:
            raise DecodeError(Reason.UNSUPPORTED_VERSION, str(future)) from None
        except (ValueError, LookupError, TypeError, AttributeError) as wrong:
            # Upcasters read foreign bodies: a missing field or a wrong type in one is the body's fault.
            raise DecodeError(Reason.UNDECODABLE, _without_content(error or wrong)) from None
        if error is not None and current is body:
            raise DecodeError(Reason.UNDECODABLE, _without_content(error)) from None
        try:
            upcasted: T = msgspec.convert(current, self.record_type)
        except _UNREADABLE as invalid:
            raise DecodeError(Reason.UNDECODABLE, _without_content(invalid)) from None
        return upcasted


def _versions_of(record_type: Any) -> dict[type, int]:
    """Each type of a union, or the one there is, to its current version."""
    types = get_args(record_type) or (record_type,)
    return {one: CURRENT_VERSIONS[str(one.__struct_config__.tag)] for one in types if hasattr(one, "__struct_config__")}


def _without_content(error: Exception) -> str:
    """What is wrong and where. Where a choice is wrong msgspec quotes it: `Invalid enum value '...' - at `$.scope``."""
    return re.sub(r"^(Invalid (?:enum )?value) .*?( - at `[^`]*`)?$", r"\1\2", str(error), flags=re.DOTALL)


CONVERSATION_EVENTS: Codec[AnyConversationEvent] = Codec(AnyConversationEvent, "json", max_bytes=MAX_EVENT_BYTES)
CANDIDATES: Codec[CandidateRecord] = Codec(CandidateRecord, "msgpack")
EMBEDDED: Codec[EmbeddedRecord] = Codec(EmbeddedRecord, "msgpack")
CHANGES: Codec[ChangesRecord] = Codec(ChangesRecord, "json")
INDEXED: Codec[Indexed] = Codec(Indexed, "msgpack")
HEADS: Codec[Head] = Codec(Head, "msgpack")
WINDOWS: Codec[Window] = Codec(Window, "msgpack")
LEDGER: Codec[LedgerEntry] = Codec(LedgerEntry, "msgpack")
DLQ: Codec[DlqRecord] = Codec(DlqRecord, "msgpack")
