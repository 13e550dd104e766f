"""A node's side of joining: the key is made here and stays here; only a signing request travels."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import time
from pathlib import Path

import msgspec

from equipoise.errors import TrustError, reason_of
from equipoise.trust.certificates import (
    SERVICE_HOST,
    certificate_from_pem,
    fingerprint,
    key_to_pem,
    new_key,
    signing_request,
)
from equipoise.trust.enrolment import (
    HEADER_BYTES,
    TIMEOUT_S,
    IAm,
    Issued,
    Join,
    Question,
    Refused,
    Renew,
    Reply,
    WhoAreYou,
    decode_reply,
    frame_bytes,
    framed,
)
from equipoise.trust.invitation import Invitation
from equipoise.trust.membership import Membership


def join(invitation: Invitation, name: str, folder: Path, now: dt.datetime) -> Membership:
    """This machine's membership, written to `folder`, under this name. Takes some seconds at most per address.

    Raises TrustError with the authority's words if it refuses, or with what became of each address.
    """
    key = new_key()
    request_pem = signing_request(key, name)
    address, authority_pem = _find_authority(invitation)
    context = _verified(authority_pem)
    issued = _issued(_ask(address, context, Join(secret=invitation.secret, request_pem=request_pem)))
    if fingerprint(certificate_from_pem(issued.authority_pem)) != invitation.fingerprint:
        raise TrustError("the certificate that came is of another authority than the one that invited")
    return Membership.write(folder, key_to_pem(key), issued, now)


def renew(membership: Membership, now: dt.datetime) -> Membership:
    """The membership with a new key and certificate. Raises TrustError; then the present one stays."""
    key = new_key()
    question = Renew(request_pem=signing_request(key, membership.member.name))
    told: list[str] = []
    for address in membership.addresses:
        try:
            issued = _issued(_ask(address, membership.client_context(), question))
        except _NotThereError as error:
            told.append(f"{address}: {error}")
            continue
        if fingerprint(certificate_from_pem(issued.authority_pem)) != fingerprint(membership.authority):
            raise TrustError("the certificate that came is of another authority")
        return Membership.write(membership.folder, key_to_pem(key), issued, now)
    raise TrustError(_nobody(told))


def serves_at(address: str, authority_fingerprint: bytes) -> bool:
    """True if this authority's service answers there."""
    try:
        reply = _ask(address, _unverified(), WhoAreYou())
    except _NotThereError:
        return False
    return isinstance(reply, IAm) and fingerprint(certificate_from_pem(reply.authority_pem)) == authority_fingerprint


class _NotThereError(TrustError):
    """Nothing that could be the authority answers at an address."""


def _find_authority(invitation: Invitation) -> tuple[str, bytes]:
    told: list[str] = []
    for address in invitation.addresses:
        try:
            reply = _ask(address, _unverified(), WhoAreYou())
        except _NotThereError as error:
            told.append(f"{address}: {error}")
            continue
        if isinstance(reply, IAm) and fingerprint(certificate_from_pem(reply.authority_pem)) == invitation.fingerprint:
            return address, reply.authority_pem
        told.append(f"{address}: another authority answers there")
    raise TrustError(_nobody(told))


def _nobody(told: list[str]) -> str:
    return (
        f"the cluster's authority cannot be reached ({'; '.join(told)}); is `equipoise cluster serve` or `equipoise "
        "cluster invite` running there, and does a firewall let this port through?"
    )


def _issued(reply: Reply) -> Issued:
    match reply:
        case Issued():
            return reply
        case Refused():
            raise TrustError(f"the cluster's authority refuses: {reply.reason}")
        case _:
            raise TrustError("the cluster's authority gave an answer to another question")


def _unverified() -> ssl.SSLContext:
    """For asking who is there; the answer is believed only if its fingerprint is the expected one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _verified(authority_pem: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=authority_pem.decode("ascii"))
    return context


def _ask(address: str, context: ssl.SSLContext, question: Question) -> Reply:
    host, _, port = address.rpartition(":")
    give_up_s = time.monotonic() + TIMEOUT_S
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), timeout=TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=SERVICE_HOST) as secured,
        ):
            secured.sendall(framed(question))
            size = frame_bytes(_read(secured, HEADER_BYTES, give_up_s))
            reply: Reply = decode_reply(_read(secured, size, give_up_s))
            return reply
    except ssl.SSLCertVerificationError as error:
        raise _NotThereError(f"what answers is not the cluster's authority ({error.verify_message})") from error
    except (OSError, ValueError, msgspec.DecodeError) as error:
        raise _NotThereError(reason_of(error)) from error


def _read(connection: ssl.SSLSocket, wanted_bytes: int, give_up_s: float) -> bytes:
    parts: list[bytes] = []
    while wanted_bytes:
        connection.settimeout(max(0.001, give_up_s - time.monotonic()))
        part = connection.recv(wanted_bytes)
        if not part:
            raise OSError("it closed the connection without an answer")
        parts.append(part)
        wanted_bytes -= len(part)
    return b"".join(parts)
