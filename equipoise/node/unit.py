"""The systemd unit that runs a node: a pure function of what it is to run.

Source of options and quoting: systemd.service(5), systemd.exec(5), systemd.syntax(7).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from equipoise.errors import UsageError

UNIT_NAME = "equipoise-node.service"
_PLAIN = re.compile(r"[A-Za-z0-9_@+=:,./-]+")
_MARGIN_S = 15.0  # beyond draining: answers that are on their way, and whatever a busy board needs to end


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What to run and as whom. Without a `user` it is a unit of the user's own service manager."""

    command: Sequence[str]
    own_folders: Sequence[Path]  # that it writes to
    drain_s: float
    user: str | None = None
    environment: Mapping[str, str]


def unit_text(service: Service) -> str:
    """The unit file. Raises UsageError if a word of it has a control character."""
    sections = (("Unit", _unit(service)), ("Service", _service(service)), ("Install", _install(service)))
    return "\n".join("\n".join((f"[{title}]", *lines, "")) for title, lines in sections)


def command_line(words: Sequence[str]) -> str:
    """The words as ExecStart takes them. Raises UsageError as `unit_text` does."""
    return " ".join(_quoted(word).replace("$", "$$") for word in words)


def _unit(service: Service) -> list[str]:
    network = ["Wants=network-online.target", "After=network-online.target"]  # which a user's manager does not know
    return [
        "Description=Equipoise node: offers this machine's processors to its cluster",
        *(network if service.user is not None else ()),
        "StartLimitIntervalSec=0",  # a board that comes back tries until it is let in
    ]


def _service(service: Service) -> list[str]:
    environment = (f"Environment={_quoted(f'{name}={value}')}" for name, value in service.environment.items())
    return [
        "Type=notify",
        "NotifyAccess=main",
        f"ExecStart={command_line(service.command)}",
        "ExecReload=/bin/kill -HUP $MAINPID",
        *environment,
        *((f"User={service.user}",) if service.user is not None else ()),
        "Restart=on-failure",
        "RestartSec=5",
        "RestartPreventExitStatus=2",  # options that make no sense do not improve
        "WatchdogSec=60",
        "KillSignal=SIGTERM",
        "KillMode=mixed",  # the node ends its own helpers
        f"TimeoutStopSec={service.drain_s + _MARGIN_S:.0f}",
        "UMask=0077",
        *_sandbox(service),
    ]


def _sandbox(service: Service) -> list[str]:
    """What a node never needs.

    Left out on purpose: PrivateDevices and ProtectClock, which hide accelerators; MemoryDenyWriteExecute, because
    their libraries compile as they go; PrivateTmp, which hides what they share there. What is pinned stays pinned.
    """
    always = [
        "NoNewPrivileges=yes",
        "LockPersonality=yes",
        "RestrictSUIDSGID=yes",
        "RestrictRealtime=yes",
        "RestrictNamespaces=yes",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
        "SystemCallArchitectures=native",
    ]
    if service.user is None:
        return always  # a user's manager cannot mount anything
    return [
        *always,
        "CapabilityBoundingSet=CAP_DAC_READ_SEARCH",  # for a family's files, whomever they belong to, if User=root
        "ProtectSystem=strict",
        "ProtectHome=read-only",
        f"ReadWritePaths={' '.join(_quoted(str(folder)) for folder in service.own_folders)}",
        "ProtectKernelTunables=yes",
        "ProtectKernelLogs=yes",
        "ProtectControlGroups=yes",
        "ProtectHostname=yes",
    ]


def _install(service: Service) -> list[str]:
    return [f"WantedBy={'multi-user.target' if service.user is not None else 'default.target'}"]


def _quoted(word: str) -> str:
    """The word as one word of a unit file, in which "%" stands for something else."""
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in word):
        raise UsageError(f"{word!r} has a control character, which cannot stand in a unit file; rename it")
    word = word.replace("%", "%%")
    if _PLAIN.fullmatch(word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
