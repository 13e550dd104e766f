"""Whoever comes dials: identifiers of sessions in the order in which Zenoh compares them."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from equipoise.fabric.config import settings_of
from equipoise.fabric.ids import session_id
from equipoise.fabric.zenoh import ZenohFabric

SECOND_NS = 1_000_000_000
YEAR_NS = 365 * 86_400 * SECOND_NS
NOW_NS = 56 * YEAR_NS


def order(identifier: str) -> bytes:
    return int(identifier, 16).to_bytes(16, "little")


@pytest.mark.parametrize("stays", [True, False])
def test_who_comes_later_dials(stays: bool):
    earlier, later = (session_id(stays=stays, now_ns=NOW_NS + after_ns) for after_ns in (0, SECOND_NS))

    assert order(later) > order(earlier)


def test_who_comes_and_goes_dials_whoever_stays_even_with_a_clock_that_is_years_behind():
    assert order(session_id(stays=False, now_ns=0)) > order(session_id(stays=True, now_ns=NOW_NS))


def test_no_two_sessions_have_the_same():
    assert len({session_id(stays=True, now_ns=NOW_NS) for _ in range(100)}) == 100


async def test_a_session_has_the_identifier_that_was_chosen_for_it():
    settings = settings_of(cluster=f"test-{uuid.uuid4().hex}")
    first = await ZenohFabric.open(settings)
    second = await ZenohFabric.open(settings)

    identifiers = [str(fabric._session.info.zid()) for fabric in (first, second)]
    await asyncio.gather(first.close(), second.close())

    assert order(identifiers[1]) > order(identifiers[0])
    assert {order(identifier)[0] for identifier in identifiers} == {order(session_id(stays=False))[0]}
