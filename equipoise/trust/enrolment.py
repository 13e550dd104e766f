"""What a node and its authority say to each other, over TLS 1.3: a frame of msgpack each way, then the end.

A node first asks whose service it is (`WhoAreYou`), on a connection that proves nothing yet, and goes on only if the
certificate it is told has the fingerprint of its invitation. The second connection is verified with that certificate,
and only on that one is the secret shown.
"""

from __future__ import annotations

import msgspec

FRAME_BYTES = 1 << 20
TIMEOUT_S = 10.0  # for the whole of one exchange
DEFAULT_PORT = 7449
HEADER_BYTES = 4


class WhoAreYou(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Asks for the authority's certificate."""


class Join(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Asks for a certificate with an invitation's secret."""

    secret: bytes
    request_pem: bytes


class Renew(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Asks for a new certificate on a connection that was opened with the present one."""

    request_pem: bytes


class IAm(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The authority's certificate."""

    authority_pem: bytes


class Issued(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What a member is given; nothing of it is secret."""

    certificate_pem: bytes
    authority_pem: bytes
    charter: bytes
    addresses: tuple[str, ...]


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Why not."""

    reason: str


Question = WhoAreYou | Join | Renew
Reply = IAm | Issued | Refused

encode = msgspec.msgpack.encode
decode_question = msgspec.msgpack.Decoder(Question).decode
decode_reply = msgspec.msgpack.Decoder(Reply).decode


def framed(message: Question | Reply) -> bytes:
    """The message with its length before it."""
    body = encode(message)
    return len(body).to_bytes(HEADER_BYTES, "big") + body


def frame_bytes(header: bytes) -> int:
    """How many bytes follow a header. Raises ValueError if they are more than anyone has to say."""
    size = int.from_bytes(header, "big")
    if size > FRAME_BYTES:
        raise ValueError(f"a message of {size} bytes; at most {FRAME_BYTES} are read")
    return size
