"""Every error that Equipoise raises on purpose.

    EquipoiseError
    ├── UsageError              the command line asks for something that makes no sense
    ├── ConfigError             a file that a person wrote is wrong     .path  .place
    ├── PlanningError
    │   ├── UnknownStrategyError
    │   ├── OnlineStrategyError
    │   └── ScenarioNeededError
    ├── ModelError              a model file cannot be loaded or run    .path
    │   └── NoRoomError
    ├── InputError              an item cannot be read or decoded       .source
    ├── EmulationError          this machine cannot play the described board
    ├── OutputError             results cannot be written               .path
    ├── ClusterError            no node is there, or none that could do it
    ├── ServiceError            the service manager is not there, or refuses
    ├── TrustError              a certificate, an invitation or a signature is not good
    └── NodeError                                                       .node
        ├── NodeUnreachableError
        └── NodeTimeoutError

Messages name the value, the place and the remedy. Errors of libraries are translated once, in the
adapter that meets them. The command line turns any of these into one line on stderr; `exit_code` says
with which code it leaves.
"""

from __future__ import annotations

from pathlib import Path


def reason_of(error: Exception) -> str:
    """What an error of the system or a library says, without number and path: those the message has already."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


class EquipoiseError(Exception):
    """Root of the tree; catching it catches everything that Equipoise raises on purpose."""

    exit_code = 1


class UsageError(EquipoiseError):
    """The command line or a call asks for something that makes no sense."""

    exit_code = 2


class ConfigError(EquipoiseError):
    """A manifest, cluster description or label file is wrong; `place` says where inside `path`."""

    def __init__(self, message: str, *, path: Path | None = None, place: str | None = None) -> None:
        where = f"{path}: " if path is not None else ""
        at = f" (at {place})" if place else ""
        super().__init__(f"{where}{message}{at}")
        self.path = path
        self.place = place


class PlanningError(EquipoiseError):
    """The planner was asked for something that it cannot plan. Infeasible is an answer, not this."""


class UnknownStrategyError(PlanningError):
    """No strategy has this name; the message lists those that exist."""

    exit_code = 2


class OnlineStrategyError(PlanningError):
    """This strategy decides online, item by item: it has no plan, and can only be simulated."""

    exit_code = 2


class ScenarioNeededError(PlanningError):
    """What knows the future is asked for where there is no scenario that tells it, or where something has to be run."""

    exit_code = 2


class ModelError(EquipoiseError):
    """A model file cannot be loaded, or does not fit what its manifest says."""

    def __init__(self, message: str, *, path: Path | None = None) -> None:
        super().__init__(f"{path}: {message}" if path is not None else message)
        self.path = path


class NoRoomError(ModelError):
    """A model file cannot be fetched now, because what is in use leaves no room for it."""


class InputError(EquipoiseError):
    """An item cannot be read or decoded. The rest of the request goes on without it."""

    def __init__(self, message: str, *, source: str | None = None) -> None:
        super().__init__(f"{source}: {message}" if source is not None else message)
        self.source = source


class EmulationError(EquipoiseError):
    """This machine is too slow to play a described processor; the message has the figures."""


class OutputError(EquipoiseError):
    """Predictions, a receipt or a plot cannot be written."""

    def __init__(self, message: str, *, path: Path) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path


class TrustError(EquipoiseError):
    """A certificate, an invitation or a signature is not good, or this machine is not in the cluster."""


class ServiceError(EquipoiseError):
    """The node cannot be made a service here, or is none."""


class ClusterError(EquipoiseError):
    """No node of the live cluster was found, or none that could do what is asked."""


class NodeError(EquipoiseError):
    """Something went wrong with a node; `node` is its name."""

    def __init__(self, message: str, *, node: str) -> None:
        super().__init__(f"node {node!r}: {message}")
        self.node = node


class NodeUnreachableError(NodeError):
    """The node is gone, or was never there."""


class NodeTimeoutError(NodeError):
    """The node did not answer in time; it may still be working."""
