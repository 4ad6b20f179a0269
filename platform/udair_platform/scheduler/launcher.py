"""What runs jobs, as the reconciler sees it. Four verbs; launching the same id twice launches once."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

MODULE = "udair_jobs.adapt_domain"


class LaunchState(StrEnum):
    """UNKNOWN: the launcher has never heard of it, or has lost it with its cluster."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"
    UNKNOWN = "UNKNOWN"


ALIVE = (LaunchState.PENDING, LaunchState.RUNNING)


@dataclass(frozen=True)
class LaunchRequest:
    """One attempt to run. Holds names of ours only: nothing that a customer wrote, and no secret.

    Attributes:
        submission_id: ``{job}-{attempt}``: the same request is the same launch.
        spec_uri: Where the job reads what to do.
        spec_endpoint_url: S3 endpoint of spec_uri, if not AWS.
    """

    submission_id: str
    spec_uri: str
    spec_endpoint_url: str | None = None

    def arguments(self) -> list[str]:
        """What follows the interpreter on the command line."""
        arguments = ["-m", MODULE, f"spec={self.spec_uri}"]
        if self.spec_endpoint_url:
            arguments.append(f"spec_endpoint_url={self.spec_endpoint_url}")
        return arguments


class Launcher(Protocol):
    """Runs attempts somewhere. Every verb may raise LauncherDown; none may be trusted to be fast."""

    def launch(self, request: LaunchRequest) -> None:
        """Start the attempt, unless an attempt of that id was started before.

        Raises:
            NoCapacity: There is no room; nothing was started.
        """
        ...

    def status(self, submission_id: str) -> LaunchState:
        """How the attempt is."""
        ...

    def stop(self, submission_id: str) -> None:
        """Ask the attempt to end; one that has ended or is unknown is no error."""
        ...

    def logs(self, submission_id: str, *, max_bytes: int = 2**20) -> str:
        """The last `max_bytes` of what the attempt printed; empty if there is nothing."""
        ...
