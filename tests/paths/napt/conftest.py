"""The routers with NAPT that the tests of this folder share: each test begins with empty tables."""

from types import SimpleNamespace
from typing import Any

import pytest
from harness import Twin
from napt_world import World, made_of

Routers = tuple[SimpleNamespace, tuple[Twin, Twin]]


@pytest.fixture(scope="session", params=["plain", pytest.param("native", marks=pytest.mark.long)])
def is_native(request: pytest.FixtureRequest) -> bool:
    """True if the paths are run natively too: compiling a NAPT takes long."""
    return bool(request.param == "native")


def _twins(is_native: bool, **options: Any) -> Routers:
    made = made_of(**options)
    return made, (Twin(made.left, native=is_native), Twin(made.right, native=is_native))


@pytest.fixture(scope="session")
def open_(is_native: bool) -> Routers:
    return _twins(is_native)


@pytest.fixture(scope="session")
def one_time(is_native: bool) -> Routers:
    return _twins(is_native, transitory=7440)


@pytest.fixture(scope="session")
def filtering(is_native: bool) -> Routers:
    return _twins(is_native, filtering="address-dependent", transitory=7440)


@pytest.fixture
def world(open_: Routers) -> World:
    return World(*open_)
