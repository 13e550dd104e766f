"""Who is there is known; who is not leaves nothing behind."""

from __future__ import annotations

from equipoise.errors import NodeError
from equipoise.fabric.presence import Presence, fail
from tests.held import held_by


async def comes_and_goes(presence: Presence, name: str) -> None:
    """A client with a name of its own, as each has, that is asked something and leaves."""
    presence.change_instance(name, "1", True)
    with presence.reply_from(name) as reply:
        fail(reply, NodeError("not now", node=name))
        reply.exception()
    presence.change_instance(name, "1", False)


async def test_of_those_who_have_left_nothing_is_kept():
    presence = Presence()
    presence.watch(lambda name, here: None)
    presence.change_instance("stays", "1", True)
    await comes_and_goes(presence, "first")
    held = held_by(presence)

    for number in range(100):
        await comes_and_goes(presence, f"client-{number}")

    assert held_by(presence) == held
    assert presence.instance("stays") == "1"
    assert presence.instance("client-7") is None


async def test_a_process_that_goes_and_was_never_there_changes_nothing():
    presence = Presence()
    held = held_by(presence)

    presence.change_instance("pi", "1", False)

    assert held_by(presence) == held


async def test_of_those_who_were_lost_only_the_last_are_missed():
    presence = Presence()
    for number in range(100):
        presence.change_instance(f"client-{number}", "1", True)
        presence.lose(lambda instance: True)
    held = held_by(presence)

    for number in range(100, 200):
        presence.change_instance(f"client-{number}", "1", True)
        presence.lose(lambda instance: True)

    assert held_by(presence) == held
    assert presence.is_anybody_missing()


async def test_who_is_lost_together_is_gone_together():
    presence = Presence()
    for node in ("a", "b", "c"):
        presence.change_instance(node, f"{node}-1", True)

    presence.lose(lambda instance: instance != "b-1")

    assert [presence.instance(node) for node in ("a", "b", "c")] == [None, "b-1", None]
    assert presence.is_anybody_missing()
