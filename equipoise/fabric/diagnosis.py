"""Why this machine is alone: Zenoh goes on dialling in silence, so whoever could be a peer is asked once, by hand.

`zenoh.open` succeeds however little comes of it. Here each address that was to be dialled, and each that answers to
multicast, gets one TLS handshake, and what the other end has to say about it becomes a sentence.
"""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import suppress

from equipoise.errors import reason_of
from equipoise.fabric.config import Credentials, ZenohSettings

_LISTEN_S = 1.5  # for answers to multicast
_CONNECT_S = 3.0
_OBJECTION_S = 1.0  # with TLS 1.3 a refusal comes after the handshake, as the first thing that is read

_OBJECTIONS = {
    "UNKNOWN_CA": "it does not know this machine's cluster: it belongs to another one",
    "CERTIFICATE_EXPIRED": "it refuses this machine's certificate as expired: `equipoise cluster renew`, or the clocks",
    "CERTIFICATE_REQUIRED": "it asks for a certificate, and this machine has none: join with an invitation",
    "BAD_CERTIFICATE": "it refuses this machine's certificate",
}


def why_alone(settings: ZenohSettings, own_zid: str) -> list[str]:
    """A sentence per address where another machine could be, saying why it is no peer. Takes some seconds.

    own_zid   of the session that is alone; it answers to multicast itself
    """
    found = list(settings.connect) or _scouted(settings, own_zid)
    if not found:
        where = "answered to multicast" if settings.scouting else "was named"
        return [f"no other machine {where}; on networks without multicast, name one with --connect"]
    return [f"{endpoint}: {_objection(endpoint, settings.credentials)}" for endpoint in found]


def _scouted(settings: ZenohSettings, own_zid: str) -> list[str]:
    if settings.scouting is None:
        return []
    import zenoh  # noqa: PLC0415 - takes a while to import

    config = zenoh.Config()
    config.insert_json5("scouting/multicast/interface", f'"{settings.scouting}"')
    found: dict[str, None] = {}  # in the order in which they answered
    with zenoh.scout(what="peer|router", config=config) as scout:
        time.sleep(_LISTEN_S)  # answers come when they come
        while (hello := scout.try_recv()) is not None:
            if str(hello.zid) != own_zid:
                found |= dict.fromkeys(map(str, hello.locators))
    return list(found)


def _objection(endpoint: str, credentials: Credentials | None) -> str:
    protocol = endpoint.partition("/")[0]
    if credentials is None:
        if protocol == "tls":
            return "a secured cluster is there; join it with an invitation"
        return _reached(endpoint) or "it answers, but is of another cluster"
    if protocol != "tls":
        return "an open cluster is there (no certificates); this machine is in a secured one"
    return _handshake(endpoint, credentials)


def _reached(endpoint: str) -> str | None:
    try:
        with socket.create_connection(_host_and_port(endpoint), _CONNECT_S):
            return None
    except OSError as error:
        return f"cannot be reached: {reason_of(error)}"


def _handshake(endpoint: str, credentials: Credentials) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # as between peers
    context.load_verify_locations(credentials.authority)
    context.load_cert_chain(credentials.certificate, credentials.private_key)
    try:
        with (
            socket.create_connection(_host_and_port(endpoint), _CONNECT_S) as plain,
            context.wrap_socket(plain) as secured,
        ):
            secured.settimeout(_OBJECTION_S)
            with suppress(TimeoutError):
                if not secured.recv(1):
                    return "it closed the connection without a word"
    except ssl.SSLCertVerificationError as error:
        return f"it is of another cluster, or its certificate is not valid ({error.verify_message})"
    except ssl.SSLError as error:
        said = error.reason or str(error)
        return next((why for word, why in _OBJECTIONS.items() if word in said), f"TLS fails: {said}")
    except OSError as error:
        return f"cannot be reached: {reason_of(error)}"
    return "it accepts this machine's certificate; if it stays like that, this machine was revoked"


def _host_and_port(endpoint: str) -> tuple[str, int]:
    host, _, port = endpoint.partition("/")[2].partition("?")[0].rpartition(":")
    return host.strip("[]"), int(port)
