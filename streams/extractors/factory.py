"""Which extractor a process uses: the one place that knows the implementations."""

import importlib
import inspect
from typing import cast

from streams.errors import UsageError
from streams.extractors.protocol import Extractor
from streams.extractors.rules import RulesExtractor
from streams.settings import ExtractSettings, environment_name

_SETTING = environment_name("extract", "extractor")


def create_extractor(settings: ExtractSettings) -> Extractor:
    """Make the extractor that the settings name.

    Args:
        settings: `extractor` is `rules`, or `package.module:Class` for an extractor of your own, which is made without
            arguments and reads its own configuration.

    Raises:
        UsageError: there is no such extractor, or it does not keep the protocol.
    """
    if settings.extractor == "rules":
        return RulesExtractor()
    return _load(settings.extractor)


def _load(path: str) -> Extractor:
    module_name, colon, class_name = path.partition(":")
    if not (module_name and colon and class_name):
        raise UsageError(
            f"no such extractor: {path!r}", next_step=f"set {_SETTING} to rules, or to package.module:Class"
        )
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the module's own code raises
        raise UsageError(
            f"extractor {path!r}: importing {module_name} failed: {type(error).__name__}: {error}",
            next_step="install the package that has it in the worker's environment, or mend the module",
        ) from error
    extractor_class = getattr(module, class_name, None)
    if not inspect.isclass(extractor_class):
        raise UsageError(f"extractor {path!r}: {module_name} has no class {class_name}", next_step=f"check {_SETTING}")
    try:
        extractor = extractor_class()
    except Exception as error:  # whatever the class's own code raises
        raise UsageError(
            f"extractor {path!r}: making it failed: {type(error).__name__}: {error}",
            next_step="an extractor is made without arguments; let it read its own configuration",
        ) from error
    if not (
        isinstance(getattr(extractor, "name", None), str)
        and inspect.iscoroutinefunction(getattr(extractor, "extract", None))
    ):
        raise UsageError(
            f"extractor {path!r} does not keep the protocol",
            next_step="give it a property `name` (str) and `async def extract(self, windows)`: "
            "see streams.extractors.protocol",
        )
    return cast("Extractor", extractor)
