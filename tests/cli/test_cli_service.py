"""`equipoise node --install-service`: what it refuses, and what it has systemd do. Units really run elsewhere."""

from __future__ import annotations

import os
import pwd
import shutil
import sys
from pathlib import Path

import pytest

from equipoise.cli import main, service
from equipoise.core.family import Family
from equipoise.node.unit import UNIT_NAME
from tests.cluster.unit_files import environment_of, settings_of, words_of


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main(["node", *map(str, arguments)])
    return int(left.value.code or 0)


@pytest.fixture(autouse=True)
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where units of the system or of the user go; nothing here may reach those of this machine."""
    monkeypatch.setenv("EQUIPOISE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setattr(service, "_BOOTED", tmp_path / "no-systemd")
    monkeypatch.setattr(service, "_SYSTEM_UNITS", tmp_path / "units")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return tmp_path / "units"


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The calls of a systemctl that fails if its first argument is in the file `refuses`."""
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "systemctl"
    script.write_text(
        f'#!/bin/sh\necho "$*" >> {tmp_path}/calls\n'
        f'if grep -qx "$1" {tmp_path}/refuses; then echo "Unit is masked." >&2; exit 1; fi\n'
    )
    script.chmod(0o755)
    (tmp_path / "refuses").write_text("")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(service, "_BOOTED", tmp_path)
    return tmp_path / "calls"


def test_without_systemd_it_says_what_to_do(capsys: pytest.CaptureFixture[str]):
    assert run("--install-service") == 1
    assert "systemd does not run here" in (complaint := capsys.readouterr().err)
    assert "--service-dir" in complaint


def test_installing_and_uninstalling_at_once_makes_no_sense(capsys: pytest.CaptureFixture[str]):
    assert run("--install-service", "--uninstall-service") == 2
    assert run("--service-dir", ".") == 2
    assert "exclude each other" in capsys.readouterr().err


def test_options_that_make_no_sense_are_refused_before_anything_is_written(units: Path, systemctl: Path):
    assert run("--install-service", "--family", "nowhere") == 1
    assert run("--install-service", "--split-cpu", "x") == 2
    assert run("--install-service", "--listen", "tcp/0.0.0.0:1") == 2
    assert not units.exists()
    assert not systemctl.exists()


def test_it_is_started_and_what_was_run_is_said(units: Path, systemctl: Path, capsys: pytest.CaptureFixture[str]):
    assert run("--install-service", "--family", "demo", "--insecure") == 0

    assert "node --insecure --family=demo\n" in (units / UNIT_NAME).read_text()
    commands = ["daemon-reload", f"enable {UNIT_NAME}", f"restart {UNIT_NAME}"]
    assert systemctl.read_text().splitlines() == commands
    said = capsys.readouterr().err
    assert all(f"ran systemctl {command}" in said for command in commands)


def test_by_sudo_it_runs_as_whoever_called_sudo_with_what_is_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    somebody = next(account for account in pwd.getpwall() if account.pw_uid != 0)
    monkeypatch.delenv("EQUIPOISE_DATA_DIR")
    monkeypatch.setenv("SUDO_USER", somebody.pw_name)

    assert run("--install-service", "--service-dir", tmp_path) == 0

    settings = settings_of(unit := (tmp_path / UNIT_NAME).read_text())
    folder = Path(somebody.pw_dir, ".local", "share", "equipoise")
    assert settings["User"] == somebody.pw_name
    assert environment_of(unit)["EQUIPOISE_DATA_DIR"] == str(folder)
    assert words_of(settings["ReadWritePaths"])[0] == str(folder)
    assert "systemctl daemon-reload" in capsys.readouterr().err  # what to do is said, nothing is done


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_what_the_services_user_could_not_read_is_refused_before_anything_is_written(
    tmp_path: Path,
    tiny_family: Family,
    systemctl: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    monkeypatch.setenv("SUDO_USER", "nobody")
    monkeypatch.setattr(sys, "executable", "/bin/true")  # which everybody can run
    shutil.copytree(tiny_family.folder, tmp_path / "family")
    (tmp_path / "family").chmod(0o700)

    assert run("--install-service", "--family", tmp_path / "family") == 1

    assert f"user nobody: it cannot read {tmp_path / 'family' / 'family.toml'}" in capfd.readouterr().err
    assert not (tmp_path / "units").exists()
    assert not systemctl.exists()


def test_it_is_stopped_and_removed(units: Path, systemctl: Path):
    run("--install-service")
    systemctl.unlink()

    assert run("--uninstall-service") == 0
    assert systemctl.read_text().splitlines() == [f"disable --now {UNIT_NAME}", "daemon-reload"]
    assert not (units / UNIT_NAME).exists()
    assert run("--uninstall-service") == 1


def test_what_systemd_refuses_is_told_in_its_words(tmp_path: Path, systemctl: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "refuses").write_text("restart\n")

    assert run("--install-service") == 1
    assert f"`systemctl restart {UNIT_NAME}` failed: Unit is masked." in capsys.readouterr().err


def test_a_unit_that_cannot_be_written_is_told_with_its_path(
    units: Path, systemctl: Path, capsys: pytest.CaptureFixture[str]
):
    units.write_text("a file where the folder should be")

    assert run("--install-service") == 1
    assert f"{units / UNIT_NAME}: the unit file cannot be written" in capsys.readouterr().err
