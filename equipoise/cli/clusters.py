"""Cluster descriptions as files."""

from __future__ import annotations

from pathlib import Path

import msgspec

from equipoise.core.cluster import Cluster
from equipoise.errors import ConfigError


def load_cluster(path: Path) -> Cluster:
    """The cluster that a JSON file describes. Raises ConfigError, which names the place in it."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Cluster)
    except OSError as e:
        raise ConfigError(f"cannot be read: {e.strerror}", path=path) from e
    except msgspec.ValidationError as e:
        problem, _, place = str(e).partition(" - at `")
        raise ConfigError(problem, path=path, place=place.replace("`", "") or None) from e
    except msgspec.DecodeError as e:
        raise ConfigError(f"is no JSON: {e}", path=path) from e
