"""Which extractor a process uses, and what it says when there is no such one."""

from pathlib import Path

import pytest

from streams.errors import UsageError
from streams.extractors.factory import create_extractor
from streams.extractors.rules import RulesExtractor
from streams.settings import ExtractSettings

OWN_EXTRACTORS = """
class Good:
    name = "own/1"

    async def extract(self, windows):
        return [[] for _ in windows]

class NotAsync:
    name = "own/1"

    def extract(self, windows):
        return []

class Nameless:
    async def extract(self, windows):
        return []

class Failing:
    def __init__(self):
        raise RuntimeError("no key")
"""


@pytest.fixture(autouse=True)
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's package with extractors of their own, and one that cannot be imported."""
    (tmp_path / "own_extractors.py").write_text(OWN_EXTRACTORS)
    (tmp_path / "broken_extractors.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)


def test_rules_is_the_default() -> None:
    """Without settings, no model and no network is needed."""
    assert isinstance(create_extractor(ExtractSettings()), RulesExtractor)


async def test_an_extractor_of_ones_own_is_loaded() -> None:
    """`package.module:Class` names any class that keeps the protocol."""
    extractor = create_extractor(ExtractSettings(extractor="own_extractors:Good"))
    assert extractor.name == "own/1"
    assert await extractor.extract([]) == []


@pytest.mark.parametrize(
    ("path", "cause"),
    [
        ("llm", "no such extractor: 'llm'"),
        (":Good", "no such extractor"),
        ("own_extractors:", "no such extractor"),
        ("no_such_module:Good", "importing no_such_module failed: ModuleNotFoundError"),
        ("broken_extractors:Good", "a_package_that_is_not_there"),
        ("own_extractors:Missing", "own_extractors has no class Missing"),
        ("own_extractors:Failing", "making it failed: RuntimeError: no key"),
        ("own_extractors:NotAsync", "does not keep the protocol"),
        ("own_extractors:Nameless", "does not keep the protocol"),
    ],
)
def test_what_cannot_be_loaded_is_a_usage_error(path: str, cause: str) -> None:
    """The message says what is wrong and what to do, before anything is consumed."""
    with pytest.raises(UsageError) as caught:
        create_extractor(ExtractSettings(extractor=path))
    assert cause in str(caught.value)
    assert caught.value.next_step
