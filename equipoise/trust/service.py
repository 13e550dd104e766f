"""The authority's service: admits invited nodes and renews certificates, over TLS.

Everything that comes in is bounded: bytes, seconds and connections at a time; whatever goes wrong on one connection
ends that one alone.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import ssl
from collections.abc import Callable
from contextlib import suppress

import msgspec
from cryptography import x509

from equipoise.errors import EquipoiseError, TrustError, reason_of
from equipoise.trust.authority import Authority, Renewal
from equipoise.trust.certificates import certificate_to_pem, member_of
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
    decode_question,
    frame_bytes,
    framed,
)

_CONNECTIONS = 32

Clock = Callable[[], dt.datetime]
OnIssued = Callable[[str], None]  # a member's name

_log = logging.getLogger(__name__)


class EnrolmentService:
    """Listens once started, until closed. `on_issued` is told of every certificate that was given out."""

    def __init__(self, authority: Authority, clock: Clock, on_issued: OnIssued | None = None) -> None:
        self._authority = authority
        self._clock = clock
        self._on_issued = on_issued or (lambda name: None)
        self._free = asyncio.Semaphore(_CONNECTIONS)
        self._server: asyncio.Server | None = None

    async def start(self, host: str | None, port: int) -> int:
        """Listen, on every address if `host` is None; returns the port. Raises EquipoiseError if that cannot be."""
        context = await asyncio.to_thread(_context, self._authority, self._clock())
        try:
            self._server = await asyncio.start_server(
                self._serve, host, port, ssl=context, ssl_handshake_timeout=TIMEOUT_S
            )
        except OSError as error:
            raise EquipoiseError(
                f"cannot listen on {host or 'any address'}, port {port}: {reason_of(error)}"
            ) from error
        chosen: int = self._server.sockets[0].getsockname()[1]
        return chosen

    async def close(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        try:
            if self._free.locked():
                return  # whoever floods this port keeps others out, but takes no memory
            async with self._free:
                await asyncio.wait_for(self._exchange(reader, writer, str(peer[0])), TIMEOUT_S)
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.TimeoutError, msgspec.DecodeError) as error:
            _log.warning("refused %s: %s", peer, reason_of(error) or type(error).__name__)
        finally:
            writer.close()
            with suppress(OSError, asyncio.TimeoutError):
                await writer.wait_closed()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        header = await reader.readexactly(HEADER_BYTES)
        question = decode_question(await reader.readexactly(frame_bytes(header)))
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        reply = await asyncio.to_thread(self._reply, question, shown)
        if isinstance(reply, Refused):
            _log.warning("refused %s: %s", host, reply.reason)
        writer.write(framed(reply))
        await writer.drain()

    def _reply(self, question: Question, shown: bytes | None) -> Reply:
        authority, now = self._authority, self._clock()
        try:
            match question:
                case WhoAreYou():
                    return IAm(authority_pem=certificate_to_pem(authority.certificate))
                case Join():
                    return self._told(authority.join(question.secret, question.request_pem, now))
                case Renew():
                    return self._told(authority.renew(self._asker(shown), question.request_pem, now))
        except EquipoiseError as error:
            return Refused(reason=str(error))

    def _asker(self, shown: bytes | None) -> Renewal:
        if shown is None:
            raise TrustError("a renewal needs the present certificate")
        member = member_of(self._authority.certificate, x509.load_der_x509_certificate(shown))
        return Renewal(member.name, member.common_name)

    def _told(self, issued: Issued) -> Issued:
        certificate = x509.load_pem_x509_certificate(issued.certificate_pem)
        self._on_issued(member_of(self._authority.certificate, certificate).name)
        return issued


def _context(authority: Authority, now: dt.datetime) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(authority.service_identity(now))
    context.load_verify_locations(authority.certificate_path)
    context.verify_mode = ssl.CERT_OPTIONAL  # a newcomer has no certificate yet; whoever shows one must hold a good one
    return context
