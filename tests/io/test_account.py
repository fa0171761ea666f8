"""Accounts: what a path owes, and that it owes no more when the clock is set back."""

import numba
import numpy as np
from numba.core import types

from scout.io.account import ACCOUNT, SAVED, is_over, spend
from scout.io.packet import SECOND
from scout.ring.jit import entry

ACCOUNTS = types.Array(numba.from_dtype(ACCOUNT), 1, "C")
NOW = 1_700_000_000 * SECOND


@entry(types.void(ACCOUNTS, types.int64, types.int64))
def spend_one(accounts, nanoseconds, now):
    spend(accounts[0], nanoseconds, now)


@entry(types.boolean(ACCOUNTS, types.int64))
def over(accounts, now):
    return is_over(accounts[0], now)


def account(price=10.0):
    made = np.zeros(1, ACCOUNT)
    made["price"] = price
    return made


def test_a_path_is_over_its_budget_until_its_share_has_paid():
    made = account()
    spend_one(made, SAVED // 10, NOW)
    assert not over(made, NOW)
    spend_one(made, SECOND, NOW)
    assert over(made, NOW + 10 * SECOND - 1) and not over(made, NOW + 10 * SECOND)


def test_a_path_without_a_budget_is_never_over_it():
    made = account(0.0)
    spend_one(made, SECOND, NOW)
    assert not over(made, NOW) and made["busy"][0] == SECOND


def test_a_clock_that_is_set_back_makes_no_path_wait_longer():
    made, hour = account(), 3600 * SECOND
    spend_one(made, SECOND, NOW)  # paid for after ten seconds
    assert over(made, NOW)
    assert over(made, NOW - hour)
    assert over(made, NOW - hour + 9 * SECOND) and not over(made, NOW - hour + 11 * SECOND)
    spend_one(made, SECOND, NOW - 2 * hour)
    assert not over(made, NOW - 2 * hour + 21 * SECOND)


def test_times_of_a_batch_that_are_a_little_older_give_nothing_back():
    made = account()
    spend_one(made, SECOND, NOW)
    due = int(made["due"][0])
    assert over(made, NOW - SECOND // 2) and over(made, NOW)
    assert made["due"][0] == due
