"""The systemd unit that runs a node: what stands in it comes out as it was meant, and systemd accepts it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_files import command_of, settings_of

from equipoise.errors import UsageError
from equipoise.node.unit import UNIT_NAME, Service, unit_text

WORDS = st.lists(st.text(st.characters(exclude_categories=("Cc", "Cs"))), max_size=5)


def service(*words: str, user: str | None = "pi", **environment: str) -> Service:
    return Service(
        command=(sys.executable, *words),
        own_folders=(Path("/home/pi/own data/100%"),),
        drain_s=30.0,
        user=user,
        environment=environment,
    )


@given(WORDS)
def test_a_command_comes_out_as_it_was_given_whatever_stands_in_it(words: list[str]) -> None:
    assert command_of(unit_text(service(*words))) == [sys.executable, *words]


@pytest.mark.parametrize("word", ["two\nlines", "a tab\t", "\x7f"])
def test_a_control_character_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match="control character"):
        unit_text(service(word))


def test_it_has_time_to_drain_and_comes_back_unless_its_options_make_no_sense() -> None:
    settings = settings_of(unit_text(service("node")))

    assert float(settings["TimeoutStopSec"]) > 30.0
    assert (settings["Type"], settings["KillSignal"], settings["Restart"]) == ("notify", "SIGTERM", "on-failure")
    assert settings["RestartPreventExitStatus"] == str(UsageError.exit_code)


def test_nothing_in_it_hides_accelerators_or_forbids_pinning() -> None:
    settings = settings_of(unit_text(service("node")))

    assert not settings.keys() & {"PrivateDevices", "DevicePolicy", "ProtectClock", "MemoryDenyWriteExecute"}
    assert not settings.keys() & {"AllowedCPUs", "CPUAffinity", "SystemCallFilter"}


def test_only_a_service_of_the_system_names_a_user_and_mounts() -> None:
    own, system = (settings_of(unit_text(service("node", user=user))) for user in (None, "pi"))

    assert (system["User"], system["ProtectSystem"], system["WantedBy"]) == ("pi", "strict", "multi-user.target")
    assert not own.keys() & {"User", "ProtectSystem", "ReadWritePaths", "CapabilityBoundingSet"}
    assert own["WantedBy"] == "default.target"


@pytest.mark.parametrize("user", [None, "root"])
def test_systemd_has_nothing_to_complain_of(tmp_path: Path, user: str | None) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        assert not os.environ.get("CI"), "systemd-analyze has to be there in continuous integration"
        pytest.skip("systemd-analyze is not installed")
    path = tmp_path / UNIT_NAME
    path.write_text(unit_text(service("--name=a b%$", user=user, WORD='quoted "%" $')))
    manager = () if user else ("--user",)

    verified = subprocess.run(
        [analyze, "verify", *manager, "--man=no", str(path)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)},
    )

    complaints = [line for line in verified.stderr.splitlines() if UNIT_NAME in line]
    assert (complaints, verified.returncode) == ([], 0), verified.stderr
