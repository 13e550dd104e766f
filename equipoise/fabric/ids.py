"""Identifiers of sessions, chosen so that whoever comes is the one that dials.

Of two peers that find each other by multicast only the one with the greater identifier dials. It asks who is there when
it starts and ever more rarely afterwards, at last every 8 s: were the newcomer the lesser one, it would have to wait
until the others happen to ask again.
"""

from __future__ import annotations

import secrets
import time

_STAYS, _COMES_AND_GOES = 0x40, 0xC0
_BYTES = 16


def session_id(*, stays: bool, now_ns: int | None = None) -> str:
    """An identifier for a session that is opened now, by the clock of this machine or at `now_ns`, as Zenoh reads it.

    It is greater than that of any session before it, and that of one that comes and goes is greater than that of any
    that stays, whatever the clocks. Clocks that disagree make nodes find each other later, no worse.
    """
    kind = bytes([_STAYS if stays else _COMES_AND_GOES])
    began = (time.time_ns() if now_ns is None else now_ns).to_bytes(8, "big")
    chance = secrets.token_bytes(_BYTES - len(kind) - len(began))
    return f"{int.from_bytes(kind + began + chance, 'little'):x}"  # Zenoh compares the bytes of the number, least first
