"""How an application waits: it looks before it sleeps where that has been enough before."""

import os

import pytest

from scout.io.endpoints.waiting import begin_wait, end_wait, new_waits
from scout.io.rest import POLL


@pytest.fixture
def event():
    made = os.eventfd(0)
    yield made
    os.close(made)


def test_an_application_that_has_seen_no_short_wait_does_not_look(event):
    waits = new_waits()
    os.eventfd_write(event, 1)
    assert not begin_wait(waits, event)


def test_an_application_looks_after_a_short_wait(event):
    waits = new_waits()
    waits["waits"], waits["short"] = 1, 2
    assert not begin_wait(waits, event)  # in vain
    waits["busy"] = 0  # another process may have kept the core meanwhile
    os.eventfd_write(event, 1)
    assert begin_wait(waits, event)
    assert (waits["waits"][0], waits["short"][0]) == (3, 2)  # another short one
    assert os.eventfd_read(event) == 1  # it was only looked at


def test_a_wait_that_ended_with_a_sleep_is_remembered_by_its_length(event):
    waits = new_waits()
    waits["since"] = 1 << 62  # it has begun just now, for any clock
    end_wait(waits)
    assert (waits["waits"][0], waits["short"][0]) == (1, 1)
    begin_wait(waits, event)
    waits["since"] -= POLL
    end_wait(waits)
    assert (waits["waits"][0], waits["short"][0]) == (2, 1)


def test_an_application_that_had_to_wait_for_its_core_does_not_look_for_a_while(event):
    waits = new_waits()
    waits["short"] = 1
    os.eventfd_write(event, 1)
    assert begin_wait(waits, event)
    waits["waits"], waits["busy"] = 0, 1 << 62
    assert not begin_wait(waits, event)
    waits["busy"] = 0
    assert begin_wait(waits, event)
