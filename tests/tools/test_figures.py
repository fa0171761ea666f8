"""Short texts of figures."""

import pytest

from scout.tools.figures import short


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (7, "7"),
        (999.4, "999"),
        (999.6, "1 k"),
        (1234567, "1.23 M"),
        (98.7e9, "98.7 G"),
        (4e12, "4 T"),
    ],
)
def test_short_figures(value: float, text: str) -> None:
    assert short(value) == text
