"""What every store asks of rows."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from streams.stores.rows import is_memory_id

_SPELLINGS = (str, lambda u: str(u).upper(), lambda u: u.hex, lambda u: u.urn, lambda u: f"{{{u}}}", lambda u: f"{u}\n")


@given(
    st.builds(lambda uuid, spell: spell(uuid), st.uuids(), st.sampled_from(_SPELLINGS))
    | st.text(alphabet="0af-F_٣３g", min_size=30, max_size=38)
    | st.text()
)
def test_an_id_is_a_uuid_as_python_prints_it(text: str) -> None:
    """Whatever else names a UUID, only its canonical form is a memory id."""
    try:
        canonical = str(UUID(text)) == text
    except ValueError:
        canonical = False
    assert is_memory_id(text) == canonical
