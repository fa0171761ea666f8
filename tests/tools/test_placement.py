"""Where the host has placed the cores: how figures are told apart by it; no time is judged."""

from scout.io.host.process import usable_cores
from scout.tools.bench.placement import handoff_ns, has_moved, slowest_of_median


def steady(handoffs: list[float]) -> list[tuple[float, float]]:
    """The same handoffs before and behind each run."""
    return [(each, each) for each in handoffs]


def test_runs_are_compared_with_those_of_the_same_placement() -> None:
    near, apart = [10.0, 12.0, 11.0, 9.9], [5.0, 6.0, 4.8]
    handoffs = steady([40.0, 41.0, 80.0, 40.0, 170.0, 90.0, 180.0])
    assert slowest_of_median(near + apart, handoffs) == 9.9 / 10.5
    assert slowest_of_median(apart + near, handoffs[4:] + handoffs[:4]) == 9.9 / 10.5
    assert slowest_of_median([*near, 5.0, 1.0, 6.0], handoffs) == 1.0 / 5.0


def test_there_may_be_more_than_two_placements() -> None:
    handoffs = steady([12.0, 40.0, 170.0] * 3)
    assert slowest_of_median([3.0, 9.0, 5.0, 3.0, 9.0, 5.0, 3.0, 9.0, 5.0], handoffs) == 1.0
    assert slowest_of_median([3.0, 9.0, 5.0, 3.0, 9.0, 5.0, 3.0, 9.0, 4.0], handoffs) == 0.8


def test_a_few_runs_of_a_placement_say_nothing() -> None:
    assert slowest_of_median([1.0, 2.0], steady([40.0, 40.0])) is None
    assert slowest_of_median([1.0, 2.0, 3.0, 4.0], steady([40.0, 40.0, 90.0, 90.0])) is None
    assert slowest_of_median([1.0, 2.0, 4.0, 0.1], steady([40.0, 40.0, 40.0, 90.0])) == 0.5
    assert slowest_of_median([1.0, 2.0, 2.0], steady([0.0, 0.0, 0.0])) == 0.5  # one core


def test_runs_in_which_the_placement_changed_are_not_compared() -> None:
    handoffs = [*steady([40.0, 41.0, 42.0]), (40.0, 90.0), (170.0, 40.0), (40.0, 80.0)]
    assert slowest_of_median([10.0, 11.0, 12.0, 1.0, 1.0, 8.0], handoffs) == 8.0 / 10.5
    assert [has_moved(each) for each in handoffs] == [False, False, False, True, True, False]
    assert not has_moved((0.0, 0.0))  # one core


def test_a_store_takes_some_time_to_the_other_core() -> None:
    assert (handoff_ns() > 0) == (len(usable_cores()) > 1)
