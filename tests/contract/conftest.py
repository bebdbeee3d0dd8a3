"""Real servers for the contract suites."""

import os

import pytest

from infra.native.state import StackState, WeaviateAddress
from streams.settings import StoreSettings, from_environment


@pytest.fixture(scope="session")
def weaviate_settings(request: pytest.FixtureRequest) -> StoreSettings:
    """A running Weaviate: the one that the environment names, else that of the full stack."""
    configured = from_environment(os.environ).store
    if configured.kind == "weaviate":
        return configured
    stack: StackState = request.getfixturevalue("full_stack")
    assert isinstance(stack.store, WeaviateAddress)
    return StoreSettings(kind="weaviate", http=stack.store.http, grpc=stack.store.grpc, api_key=stack.store.api_key)
