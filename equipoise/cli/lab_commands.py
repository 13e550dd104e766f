"""All commands of `equipoise lab`."""

from __future__ import annotations

from equipoise.cli import lab_boards, lab_drift, lab_paper, lab_whatif
from equipoise.cli.lab import lab_app

__all__ = ["lab_app", "lab_boards", "lab_drift", "lab_paper", "lab_whatif"]
