"""What Weaviate's errors mean; the sentences are those of version 1.39.2."""

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata

from streams.errors import MemstreamError, RateLimitedError, RefusedError, TransientError
from streams.stores.weaviate_errors import call_error, object_error


@pytest.mark.parametrize(
    ("code", "details", "expected"),
    [
        (StatusCode.UNAVAILABLE, "failed to connect to all addresses", TransientError),
        (StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", TransientError),
        (StatusCode.RESOURCE_EXHAUSTED, "too many requests", RateLimitedError),
        (StatusCode.UNKNOWN, "extract auth: unauthorized: invalid api key", RefusedError),
        (StatusCode.PERMISSION_DENIED, "forbidden", RefusedError),
        (StatusCode.UNKNOWN, "could not find class Memory_g1 in schema", RefusedError),
        (StatusCode.UNKNOWN, 'search: object search at index probe: tenant not found: "bucket-0001"', RefusedError),
        (StatusCode.UNKNOWN, "something new", TransientError),
    ],
)
def test_calls(code: StatusCode, details: str, expected: type[MemstreamError]) -> None:
    """A call is refused for good only where the sentence says so; what nobody knows is tried again."""
    error = call_error(AioRpcError(code, Metadata(), Metadata(), details), address="here:1")

    assert type(error) is expected
    assert "here:1" in str(error)


@pytest.mark.parametrize(
    ("sentences", "expected"),
    [
        (["store is read-only due to: disk usage too high"], TransientError),
        (["context deadline exceeded", "not enough memory: cannot process batch"], TransientError),
        (["invalid UUID length: 6"], RefusedError),
        (["store is read-only", "invalid UUID length: 6"], RefusedError),
        (["class 'Memory_g1' not present in schema"], RefusedError),
        (["something new"], RefusedError),
    ],
)
def test_objects(sentences: list[str], expected: type[MemstreamError]) -> None:
    """Objects that are still not written after the retries pass only if waiting can help all of them."""
    assert type(object_error(sentences, address="here:1")) is expected


def test_bugs_stay_bugs() -> None:
    """An error that is not Weaviate's is not dressed up as one."""
    with pytest.raises(ZeroDivisionError):
        call_error(ZeroDivisionError(), address="here:1")
