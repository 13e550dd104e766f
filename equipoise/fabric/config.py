"""How a session of the network is opened: the one place where Zenoh's configuration is made.

A network is open (plain TCP, for loopback and for those who insist) or secured by certificates (mutual TLS).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from equipoise.errors import UsageError
from equipoise.fabric.ids import session_id

if TYPE_CHECKING:
    import datetime as dt

    import zenoh

    from equipoise.trust.membership import Membership

DEFAULT_CLUSTER = "default"
LOOPBACK_INTERFACE = "lo"
ANY_INTERFACE = "auto"
_LOOPBACK_HOSTS = ("127.", "localhost", "[::1]")

# Of two peers that discover each other one dials. If both did, a short cut could end in a view that is split for good.
_ONE_DIALS = {
    "router": {"to_router": "always", "to_peer": "always"},
    "peer": {"to_router": "always", "to_peer": "greater-zid"},
}


MESSAGE_BYTES = 1 << 28  # whatever is larger is dropped while it arrives; Zenoh's own limit is 1 GiB
_MESSAGES = (
    "put",
    "delete",
    "declare_subscriber",
    "query",
    "reply",
    "declare_queryable",
    "liveliness_token",
    "liveliness_query",
    "declare_liveliness_subscriber",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What this machine shows to the others of its cluster, files in PEM, and whom of them it lets in.

    `admitted` are common names of certificates. Zenoh has no list of those to keep out that would win over it, and
    cannot change it while a session is open: to put somebody out, open another one.
    """

    authority: Path
    certificate: Path
    private_key: Path
    admitted: tuple[str, ...]


def credentials_of(membership: Membership, now: dt.datetime) -> Credentials:
    """Those of a member, with everybody let in who is not revoked at this time."""
    return Credentials(
        authority=membership.authority_path,
        certificate=membership.certificate_path,
        private_key=membership.certificate_path,
        admitted=membership.charter.admitted(now),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ZenohSettings:
    """How to open a session: which cluster, whom to dial, where to listen.

    Endpoints are Zenoh's, such as "tcp/192.168.1.4:7447" or, with `credentials`, "tls/192.168.1.4:7447". Peers are
    looked for by multicast on the interface `scouting`, None for not at all; let only one side of a connection dial
    the other by address. With `gossip`, peers tell each other of peers. A peer that is silent for `lease_s` is gone.
    A node `stays`; whoever comes and goes dials it, see `fabric.ids`.
    """

    cluster: str
    listen: tuple[str, ...] = ()
    connect: tuple[str, ...] = ()
    scouting: str | None = None
    gossip: bool = False
    lease_s: float = 2.0
    stays: bool = False
    credentials: Credentials | None = None

    @property
    def open_to_anybody(self) -> bool:
        """True if whoever reaches this machine over a network may take part."""
        return self.credentials is None and not self._stays_on_loopback

    @property
    def _stays_on_loopback(self) -> bool:
        return self.scouting in (None, LOOPBACK_INTERFACE) and all_on_loopback((*self.listen, *self.connect))

    def config(self) -> zenoh.Config:
        """The zenoh.Config that says so."""
        import zenoh  # noqa: PLC0415 - settings are made where nothing may be opened

        config: zenoh.Config = zenoh.Config()
        for key, value in (*self._network(), *self._encryption()):
            config.insert_json5(key, json.dumps(value))
        return config

    def _network(self) -> Iterable[tuple[str, Any]]:
        yield "id", session_id(stays=self.stays)
        yield "mode", "peer"
        yield "listen/endpoints", self.listen
        yield "listen/exit_on_failure", True
        yield "connect/endpoints", self.connect
        yield "connect/exit_on_failure", False
        yield "scouting/multicast/enabled", self.scouting is not None
        yield "scouting/multicast/interface", self.scouting or ANY_INTERFACE
        yield "scouting/multicast/autoconnect_strategy", _ONE_DIALS
        yield "scouting/gossip/enabled", self.gossip
        yield "scouting/gossip/autoconnect_strategy", _ONE_DIALS
        yield "transport/link/tx/lease", round(self.lease_s * 1000)
        yield "transport/link/rx/max_message_size", MESSAGE_BYTES
        # A container's /dev/shm is often too small for it, and it doubles the resident memory.
        yield "transport/shared_memory/enabled", False

    def _encryption(self) -> Iterable[tuple[str, Any]]:
        if self.credentials is None:
            return
        certificate, private_key = str(self.credentials.certificate), str(self.credentials.private_key)
        yield (
            "transport/link/tls",
            {
                "enable_mtls": True,
                "verify_name_on_connect": False,  # boards change their addresses; the authority vouches for them
                "close_link_on_expiration": True,
                "root_ca_certificate": str(self.credentials.authority),
                "listen_certificate": certificate,
                "listen_private_key": private_key,
                "connect_certificate": certificate,
                "connect_private_key": private_key,
            },
        )
        yield "transport/link/protocols", ["tls"]
        yield "access_control", _only_for(self.credentials.admitted, f"equipoise/{quote(self.cluster, safe='')}/**")


def _only_for(common_names: Sequence[str], key_expression: str) -> dict[str, Any]:
    """Access control that denies everything but these keys to these certificates."""
    everything = {"permission": "allow", "messages": _MESSAGES, "flows": ["ingress", "egress"]}
    return {
        "enabled": True,
        "default_permission": "deny",
        "rules": [{"id": "cluster", "key_exprs": [key_expression], **everything}],
        "subjects": [{"id": "members", "cert_common_names": list(common_names)}],
        "policies": [{"rules": ["cluster"], "subjects": ["members"]}],
    }


def all_on_loopback(endpoints: Iterable[str]) -> bool:
    """True if none of these endpoints can be reached from, or reaches, another machine."""
    return all(endpoint.partition("/")[2].startswith(_LOOPBACK_HOSTS) for endpoint in endpoints)


def settings_of(
    *,
    cluster: str = DEFAULT_CLUSTER,
    listen: Sequence[str] = (),
    connect: Sequence[str] = (),
    insecure: bool = False,
    credentials: Credentials | None = None,
) -> ZenohSettings:
    """Settings for taking part in a cluster, as its nodes and the clients that only coordinate do.

    Without addresses the others are found by multicast: on the local network if `credentials` or `insecure` allow
    that, otherwise among the processes of this machine. With addresses to dial, multicast is left alone.

    Raises UsageError if an open cluster would be reached from other machines and nobody said `insecure`.
    """
    beyond = [endpoint for endpoint in (*listen, *connect) if not all_on_loopback([endpoint])]
    trusted = insecure or credentials is not None
    if beyond and not trusted:
        raise UsageError(
            f"{beyond[0]} reaches beyond this machine and the cluster is open: whoever is on that network could take "
            "part; say --insecure if that is what you want"
        )
    protocol, host = "tls" if credentials else "tcp", "0.0.0.0" if trusted else "127.0.0.1"
    return ZenohSettings(
        cluster=cluster,
        listen=tuple(listen) or (f"{protocol}/{host}:0",),
        connect=tuple(connect),
        scouting=None if connect else ANY_INTERFACE if trusted else LOOPBACK_INTERFACE,
        gossip=True,
        credentials=credentials,
    )
