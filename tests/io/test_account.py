"""The accounts of paths, and their debts."""

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
