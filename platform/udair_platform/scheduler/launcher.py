"""What runs jobs, as the reconciler sees it. Launching the same id twice launches once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from udair_jobs.specs import Reason

MODULE = "udair_jobs.adapt_domain"


class LaunchState(StrEnum):
    """UNKNOWN: the launcher has never heard of it, or has lost it with its cluster.

    SUSPENDED: a queue of the cluster's holds it, and nothing of it runs; it may have run before.
    """

    PENDING = "PENDING"
    SUSPENDED = "SUSPENDED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"
    UNKNOWN = "UNKNOWN"


ALIVE = (LaunchState.PENDING, LaunchState.SUSPENDED, LaunchState.RUNNING)


@dataclass(frozen=True)
class Cause:
    """Why an attempt ended without a result, or does not start."""

    reason: Reason
    detail: str


@dataclass(frozen=True)
class LaunchRequest:
    """One attempt to run. Holds names of ours only: nothing that a customer wrote, and no secret.

    Attributes:
        submission_id: ``{job}-{attempt}``: the same request is the same launch.
        spec_uri: Where the job reads what to do.
        spec_endpoint_url: S3 endpoint of spec_uri, if not AWS.
        tenant: Whose job it is.
    """

    submission_id: str
    spec_uri: str
    spec_endpoint_url: str | None = None
    tenant: str = ""

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
            NotLaunched: It was not started and will not be, for the reason that the error names.
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

    def cause(self, submission_id: str) -> Cause | None:
        """Why it ended without a result or does not start, if the launcher knows more than that."""
        return None

    def held(self) -> Collection[str]:
        """Attempts that take room which only `stop` frees, whoever started them; asked now and then."""
        return ()

    def close(self) -> None:
        """Let go of connections and threads; attempts run on."""
        return
