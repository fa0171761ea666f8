"""The path of the built-in stages that the tests of this folder share, as plain Python and natively."""

from typing import Any

import pytest
from harness import Twin, two_ports


@pytest.fixture(scope="session")
def router() -> Any:
    made = two_ports(errors_per_second=1.0, burst=2)
    made.twin = Twin(made.graph.create_path("left"))
    return made


@pytest.fixture
def twin(router: Any) -> Twin:
    router.twin.reset()
    return router.twin
