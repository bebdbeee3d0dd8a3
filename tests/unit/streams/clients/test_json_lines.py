"""Lines out of a stream of bytes."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from streams.clients.json_lines import Line, LineSplitter


def split(chunks: list[bytes], max_bytes: int = 1000) -> list[Line]:
    """All lines of a stream that comes in these chunks."""
    splitter = LineSplitter(max_bytes=max_bytes)
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    return [*lines, *splitter.end()]


STREAMS = st.lists(st.sampled_from([b"a", b"\n", b" ", b"\r", "é".encode(), b"bcd"]), max_size=60).map(b"".join)


@given(stream=STREAMS, cuts=st.lists(st.integers(0, 60), max_size=10), max_bytes=st.integers(1, 12))
def test_chunks_do_not_matter(stream: bytes, cuts: list[int], max_bytes: int) -> None:
    """However a stream is cut into chunks, the lines are the same, too long ones included."""
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    chunks = [stream[start:end] for start, end in itertools.pairwise(places)]
    whole = [(line.number, line.value) for line in split([stream], max_bytes)]
    assert [(line.number, line.value) for line in split(chunks, max_bytes)] == whole


@given(stream=STREAMS)
def test_lines_are_numbered_and_blank_ones_left_out(stream: bytes) -> None:
    """Every line that is not blank comes once, with the number an editor would show."""
    expected = [(n, line.strip()) for n, line in enumerate(stream.split(b"\n"), start=1) if line.strip()]
    assert [(line.number, line.value) for line in split([stream])] == expected


def test_a_line_that_is_too_long_is_reported_and_the_next_one_is_read() -> None:
    """A line above the limit comes without value, with its size; the others are untouched."""
    lines = split([b"one\n" + b"x" * 50, b"x" * 50, b"\nthree"], max_bytes=20)
    assert [(line.number, line.value) for line in lines] == [(1, b"one"), (2, None), (3, b"three")]
    assert lines[1].size_bytes == 100


def test_an_unfinished_line_is_never_kept_beyond_the_limit() -> None:
    """A stream without any newline is held in memory up to the limit only."""
    splitter = LineSplitter(max_bytes=100)
    for _ in range(1000):
        assert list(splitter.feed(b"x" * 60)) == []
        assert len(splitter._rest) <= 100
    assert [(line.number, line.value, line.size_bytes) for line in splitter.end()] == [(1, None, 60_000)]
