"""`equipoise node --install-service` and `--uninstall-service`: the node as a service that systemd runs."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from equipoise.cli.options import family_folder
from equipoise.errors import OutputError, ServiceError, reason_of
from equipoise.families.manifest import load_family
from equipoise.node.unit import UNIT_NAME, Service, command_line, unit_text
from equipoise.profiling.store import DATA_FOLDER_VARIABLE, default_data_folder

_SYSTEM_UNITS = Path("/etc/systemd/system")
_BOOTED = Path("/run/systemd/system")  # there if systemd runs this machine, see sd_booted(3)
# What decides which code runs and which accelerators it finds, so that the service is what was tried by hand.
_KEPT_VARIABLES = ("PYTHONPATH", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the service goes and whose it is: root's go to the system, others to their own service manager.

    Who calls as root by sudo stays the one who runs it.
    """

    folder: Path
    system: bool
    user: str
    data_folder: Path
    given: bool  # to be written only

    @property
    def unit_path(self) -> Path:
        """Of the unit file."""
        return self.folder / UNIT_NAME

    @property
    def foreign(self) -> bool:
        """True if it belongs to somebody else than the user of this process."""
        return pwd.getpwnam(self.user).pw_uid != os.geteuid()

    def systemctl(self, *words: str) -> tuple[str, ...]:
        """A command to the service manager that this unit is for."""
        return ("systemctl", *(() if self.system else ("--user",)), *words)


def place_of(folder: Path | None) -> Place:
    """Where the service goes here; `folder` in place of systemd's own. Raises ServiceError without systemd."""
    if folder is None and not _BOOTED.is_dir():
        raise ServiceError(
            "systemd does not run here; write the unit file for a machine where it does with --service-dir DIR, "
            "or have `equipoise node` started by what starts services here"
        )
    system = os.geteuid() == 0
    account = _account(by_sudo=system)
    own = Path(os.environ.get("XDG_CONFIG_HOME") or Path(account.pw_dir, ".config")) / "systemd" / "user"
    return Place(
        folder=folder or (_SYSTEM_UNITS if system else own),
        system=system,
        user=account.pw_name,
        data_folder=_data_folder(account),
        given=folder is not None,
    )


def options_given(**options: str | int | bool | Iterable[str] | None) -> list[str]:
    """The options as they stand on a command line."""
    words: list[str] = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            words += [flag] if value else []
        elif isinstance(value, (str, int)):
            words.append(f"{flag}={value}")
        else:
            words += [f"{flag}={one}" for one in value or ()]
    return words


def lasting(families: Iterable[str]) -> list[str]:
    """The families' names, good from any folder. Raises ConfigError now if one cannot be read."""
    for name in families:
        load_family(family_folder(name))
    return [name if family_folder(name) != Path(name) else str(Path(name).absolute()) for name in families]


def join_for(place: Place, invitation: str, name: str | None) -> None:
    """Get the service's user a certificate, by a process of that user. Raises ServiceError; it has said why."""
    named = () if name is None else (f"--name={name}",)
    command = [sys.executable, "-m", "equipoise", "cluster", "join", *named, "--", invitation]
    _run_as(place, command, "it could not join")


def install(place: Place, options: Sequence[str], drain_s: float, cache: Path | None = None) -> None:
    """Write the unit that runs `equipoise node OPTIONS`, and start it. Raises ServiceError and OutputError."""
    folders = (place.data_folder, *((cache.absolute(),) if cache is not None else ()))
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if os.environ.get(name)}
    command = (sys.executable, "-m", "equipoise", "node", *options)
    service = Service(
        command=command,
        own_folders=folders,
        drain_s=drain_s,
        user=place.user if place.system else None,
        environment={"PYTHONSAFEPATH": "1", DATA_FOLDER_VARIABLE: str(place.data_folder)} | kept,
    )
    text = unit_text(service)
    if not place.given:
        _refuse_what_it_could_not_run(place, options)
        _run_as(place, ["mkdir", "-p", "--", *map(str, folders)], "its folders cannot be made")
    _write(place.unit_path, text)
    _say(f"wrote {place.unit_path}: {command_line(command)}")
    if place.given:
        own = "/etc/systemd/system" if place.system else "~/.config/systemd/user"
        steps = "; ".join(" ".join(step) for step in _starting(place))
        _say(f"to start it, copy the file to {own} of the machine that runs it, then: {steps}")
        return
    for step in _starting(place):
        _run(step)
    log = "journalctl" if place.system else "journalctl --user"
    _say(f"the node runs from now on; its log: {log} -fu {UNIT_NAME}")
    if not place.system:
        _say(f"to have it run while you are not logged in: loginctl enable-linger {place.user}")


def uninstall(place: Place) -> None:
    """Stop the service and remove its unit. Raises ServiceError if there is none, or it cannot be stopped."""
    if not place.unit_path.exists():
        raise ServiceError(f"no service is installed here: there is no {place.unit_path}")
    if not place.given:
        _run(place.systemctl("disable", "--now", UNIT_NAME))
    try:
        place.unit_path.unlink()
    except OSError as error:
        raise OutputError(f"cannot be removed: {reason_of(error)}", path=place.unit_path) from error
    _say(f"removed {place.unit_path}")
    if not place.given:
        _run(place.systemctl("daemon-reload"))


def _account(*, by_sudo: bool) -> pwd.struct_passwd:
    """Whose service it becomes: who called sudo, or else the user of this process."""
    try:
        called_sudo = pwd.getpwnam(os.environ.get("SUDO_USER", ""))
    except KeyError:
        called_sudo = None
    if by_sudo and called_sudo is not None:
        return called_sudo
    try:
        return pwd.getpwuid(os.geteuid())
    except KeyError:
        raise ServiceError(f"user {os.geteuid()} has no account on this machine, as a service needs") from None


def _data_folder(account: pwd.struct_passwd) -> Path:
    """Of that user; what this process takes for home may be that of root."""
    if account.pw_uid == os.geteuid() or DATA_FOLDER_VARIABLE in os.environ:
        return default_data_folder(os.environ).absolute()
    return Path(account.pw_dir, ".local", "share", "equipoise")


def _refuse_what_it_could_not_run(place: Place, options: Sequence[str]) -> None:
    """Raise ServiceError if the service's user cannot run Equipoise, or cannot read a family, where they are."""
    _run_as(place, [sys.executable, "-c", "import equipoise"], f"it cannot run {sys.executable} with Equipoise")
    for option in options:
        flag, _, name = option.partition("=")
        if flag == "--family":
            manifest = str(family_folder(name) / "family.toml")
            _run_as(place, ["test", "-r", manifest], f"it cannot read {manifest}")


def _starting(place: Place) -> tuple[tuple[str, ...], ...]:
    """What makes a unit that was written, or written anew, the one that runs."""
    return tuple(
        place.systemctl(*words) for words in (("daemon-reload",), ("enable", UNIT_NAME), ("restart", UNIT_NAME))
    )


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"the unit file cannot be written: {reason_of(error)}", path=path) from error


def _run(command: Sequence[str]) -> None:
    """Run it and say so. Raises ServiceError with what it complained of."""
    try:
        ended = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise ServiceError(f"`{' '.join(command)}` cannot be run: {reason_of(error)}") from error
    if ended.returncode != 0:
        complaint = " ".join(ended.stderr.split()) or f"exit code {ended.returncode}"
        raise ServiceError(f"`{' '.join(command)}` failed: {complaint}; see `systemctl status` and `journalctl`")
    _say(f"ran {' '.join(command)}")


def _run_as(place: Place, command: Sequence[str], failed: str) -> None:
    """Run it as the service's user; what it says goes where ours goes. Raises ServiceError, `failed`, if it fails."""
    account = pwd.getpwnam(place.user)
    environment = os.environ | {"HOME": account.pw_dir, DATA_FOLDER_VARIABLE: str(place.data_folder)}
    identity = (
        {
            "user": account.pw_uid,
            "group": account.pw_gid,
            "extra_groups": os.getgrouplist(account.pw_name, account.pw_gid),
        }
        if place.foreign
        else {}
    )
    try:
        done = subprocess.run(command, env=environment, check=False, **identity).returncode == 0  # type: ignore[call-overload]
    except OSError:  # it may not even start it
        done = False
    if not done:
        raise ServiceError(f"no service was installed for user {place.user}: {failed}")


def _say(text: str) -> None:
    print(f"equipoise: {text}", file=sys.stderr)
