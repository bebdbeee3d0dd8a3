"""What Weaviate's errors mean for whoever called.

Weaviate answers most failures of its own with the gRPC code UNKNOWN and a sentence, and failures of single objects with
a sentence alone. So words have to be matched; the contract tests hold them to the real server. A sentence that nothing
here knows counts as passing for a call (it is tried again) and as refused for an object (it was tried again already).
"""

from collections.abc import Iterable

import httpx
from grpc import StatusCode
from grpc.aio import AioRpcError
from weaviate import exceptions as client_errors

from streams.errors import MemstreamError, RateLimitedError, RefusedError, TransientError

_REFUSED_CODES = frozenset(
    {
        StatusCode.INVALID_ARGUMENT,
        StatusCode.NOT_FOUND,
        StatusCode.PERMISSION_DENIED,
        StatusCode.UNAUTHENTICATED,
        StatusCode.UNIMPLEMENTED,
        StatusCode.FAILED_PRECONDITION,
    }
)

_ACCESS = ("unauthorized", "forbidden", "api key", "anonymous access")
_LAYOUT = (
    "could not find class",
    "not present in schema",
    "tenant not found",
    "no such prop",
    "vector lengths",
    "wrong size",
    "query maximum",
)
_PASSING = (
    "read-only",
    "readonly",
    "deadline",
    "canceled",
    "shutting down",
    "shut down",
    "leader",
    "unavailable",
    "connection",
    "not enough memory",
    "disk usage",
    "timeout",
    "too many",
)


def call_error(error: Exception, *, address: str) -> MemstreamError:
    """What an error of a whole call means."""
    if isinstance(error, TimeoutError):
        return TransientError(f"Weaviate at {address} took too long")
    if isinstance(error, AioRpcError):
        return _rpc_error(error, address)
    if isinstance(error, client_errors.UnexpectedStatusCodeError):
        return _status_error(error, address)
    if isinstance(error, client_errors.WeaviateBaseError | httpx.HTTPError | OSError):
        return TransientError(f"Weaviate at {address} is away: {_first_line(error)}")
    raise error


def object_error(sentences: Iterable[str], *, address: str) -> MemstreamError:
    """What is left of a batch after its retries: a wait, if that could help every object of it."""
    distinct = list(dict.fromkeys(sentences))
    passing = all(_mentions(sentence, _PASSING) and not _mentions(sentence, _LAYOUT) for sentence in distinct)
    said = f"Weaviate at {address} did not write every object: {'; '.join(distinct[:3])}"
    return TransientError(said) if passing else RefusedError(f"{said}; mend its cause, the partition waits until then")


def _rpc_error(error: AioRpcError, address: str) -> MemstreamError:
    said = error.details() or error.code().name
    if error.code() is StatusCode.RESOURCE_EXHAUSTED:
        return RateLimitedError(f"Weaviate at {address} is at a limit: {said}")
    if _mentions(said, _ACCESS):
        return _no_access(address, said)
    if error.code() in _REFUSED_CODES or _mentions(said, _LAYOUT):
        return RefusedError(f"Weaviate at {address} refuses: {said}; open the store again, which checks its layout")
    return TransientError(f"Weaviate at {address} fails ({error.code().name}): {said}")


def _status_error(error: client_errors.UnexpectedStatusCodeError, address: str) -> MemstreamError:
    if error.status_code in (401, 403):
        return _no_access(address, _first_line(error))
    if error.status_code == 429 or error.status_code >= 500:
        return TransientError(f"Weaviate at {address} fails: {_first_line(error)}")
    return RefusedError(f"Weaviate at {address} refuses: {_first_line(error)}; is it version 1.37 or later?")


def _no_access(address: str, said: str) -> RefusedError:
    return RefusedError(f"Weaviate at {address} gives no access: {said}; check MEMSTREAM_STORE_API_KEY")


def _mentions(sentence: str, words: Iterable[str]) -> bool:
    lowered = sentence.lower()
    return any(word in lowered for word in words)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
