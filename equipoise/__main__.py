"""`python -m equipoise` is the same as `equipoise`."""

from __future__ import annotations

import sys

from equipoise.cli import main

sys.exit(main())
