"""Where memberships and authorities are kept; asking that loads no library that makes certificates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from equipoise.profiling.store import default_data_folder

MEMBER_FILE = "member.pem"


def default_membership_folder(environment: Mapping[str, str]) -> Path:
    """Where this user's membership is kept."""
    return default_data_folder(environment) / "member"


def default_authority_folder(environment: Mapping[str, str]) -> Path:
    """Where this user's authority is kept, if this is the machine that has one."""
    return default_data_folder(environment) / "authority"


def is_member(folder: Path) -> bool:
    """True if there is a membership in this folder, valid or not."""
    return (folder / MEMBER_FILE).exists()
