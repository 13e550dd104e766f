"""An invitation: what a machine must know to ask a cluster's authority for a certificate, as one word to paste.

It carries no key. Whoever holds it may join, once, until it expires; the authority keeps only the secret's hash.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Annotated

import msgspec
from msgspec import Meta

from equipoise.errors import TrustError

_PREFIX = "equipoise-join-1."
_CHECK_BYTES = 4

Address = Annotated[str, Meta(pattern=r"^.+:[0-9]{1,5}$")]  # HOST:PORT; IPv6 as [::1]:7449


class Invitation(msgspec.Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True):
    """Where the authority listens, how to know it (the SHA-256 of its certificate), and the secret to show it once."""

    cluster: str
    addresses: Annotated[tuple[Address, ...], Meta(min_length=1, max_length=64)]
    fingerprint: Annotated[bytes, Meta(min_length=32, max_length=32)]
    secret: Annotated[bytes, Meta(min_length=16, max_length=16)]

    def __repr__(self) -> str:  # the secret must not get into logs by accident
        return f"Invitation(cluster={self.cluster!r}, addresses={self.addresses!r})"


def as_text(invitation: Invitation) -> str:
    """The invitation as one word of letters, digits, dashes, dots and underscores."""
    body = msgspec.msgpack.encode(invitation)
    return _PREFIX + base64.urlsafe_b64encode(_check(body) + body).decode().rstrip("=")


def from_text(text: str) -> Invitation:
    """The invitation that a word is. Raises TrustError if it is none, or was cut or mistyped."""
    word = "".join(text.split())  # terminals and mail break long words
    if not word.startswith(_PREFIX):
        raise TrustError(f"this is no invitation; one begins with {_PREFIX} and comes from `equipoise cluster invite`")
    encoded = word.removeprefix(_PREFIX)
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        check, body = raw[:_CHECK_BYTES], raw[_CHECK_BYTES:]
        if check != _check(body):
            raise ValueError("its check sum is wrong")
        return msgspec.msgpack.decode(body, type=Invitation)
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise TrustError(f"the invitation was cut or mistyped ({error}); copy it whole") from None


def secret_hash(secret: bytes) -> str:
    """What the authority keeps of a secret. Secrets are random, so they need no salt."""
    return hashlib.sha256(secret).hexdigest()


def _check(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:_CHECK_BYTES]
