"""The routers with NAPT that the tests of this folder share: each test begins with empty tables."""

from types import SimpleNamespace
from typing import Any

import pytest
from harness import Twin
from napt_world import World, made_of


@pytest.fixture(scope="session")
def open_() -> tuple[SimpleNamespace, tuple[Twin, Twin]]:
    made = made_of()
    return made, (Twin(made.left), Twin(made.right))


@pytest.fixture(scope="session")
def one_time(open_: Any) -> tuple[SimpleNamespace, tuple[Twin, Twin]]:
    made = made_of(transitory=7440)
    return made, (Twin(made.left), Twin(made.right))


@pytest.fixture(scope="session")
def filtering(open_: Any) -> tuple[SimpleNamespace, tuple[Twin, Twin]]:
    made = made_of(filtering="address-dependent", transitory=7440)
    return made, (Twin(made.left), Twin(made.right))


@pytest.fixture
def world(open_: Any) -> World:
    return World(*open_)
