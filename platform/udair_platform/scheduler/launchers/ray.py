"""Jobs on a Ray cluster, through its Jobs API.

What Ray does that shapes this file: an entrypoint runs in a shell, so it holds names of ours only,
quoted; `runtime_env` is shown to everybody who may list jobs, so it holds no secret and the cluster's
own environment carries the credentials; a submission id that exists answers HTTP 500, which here
means "launched already"; a job that is PENDING cannot be stopped; and jobs die with their cluster.
"""

from __future__ import annotations

import os
import shlex
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from udair_platform.errors import LauncherDown
from udair_platform.scheduler.launcher import Launcher, LaunchRequest, LaunchState
from udair_platform.telemetry import logger, redact_text

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

T = TypeVar("T")
_log = logger("launcher.ray")


class RayLauncher(Launcher):
    """Submits attempts to the cluster whose dashboard is at `address`.

    With RAY_AUTH_MODE=token in this process's environment the token of RAY_AUTH_TOKEN (or of the
    file RAY_AUTH_TOKEN_PATH) is sent along.

    Args:
        address: URL of the dashboard, e.g. ``http://127.0.0.1:8265``.
        python: Interpreter on the cluster that has `udair_jobs`.
        num_cpus, num_gpus: What the cluster reserves for one attempt.
    """

    def __init__(self, address: str, *, python: str = "python", num_cpus: float = 1.0, num_gpus: float = 0.0) -> None:
        self._address = address
        self._python = python
        self._num_cpus, self._num_gpus = num_cpus, num_gpus
        self._client: JobSubmissionClient | None = None
        self._lock = threading.Lock()

    def launch(self, request: LaunchRequest) -> None:
        """Submit the attempt; one that was submitted before is left as it is."""

        def submit(client: JobSubmissionClient) -> None:
            try:
                client.submit_job(
                    entrypoint=entrypoint(self._python, request),
                    submission_id=request.submission_id,
                    metadata={"udair": "adapt_domain"},
                    entrypoint_num_cpus=self._num_cpus,
                    entrypoint_num_gpus=self._num_gpus,
                )
            except RuntimeError as error:
                if "already exists" not in str(error):
                    raise
                _log.info("launched already", submission_id=request.submission_id)

        self._ask(submit)

    def status(self, submission_id: str) -> LaunchState:
        """What Ray says; UNKNOWN when this cluster has never seen the attempt."""

        def ask(client: JobSubmissionClient) -> LaunchState:
            try:
                return LaunchState(client.get_job_status(submission_id).value)
            except RuntimeError as error:
                if _unheard(error):
                    return LaunchState.UNKNOWN
                raise

        return self._ask(ask)

    def stop(self, submission_id: str) -> None:
        """Ask Ray to stop it. Has no effect while the attempt is PENDING; ask again."""

        def ask(client: JobSubmissionClient) -> None:
            try:
                client.stop_job(submission_id)
            except RuntimeError as error:
                if not _unheard(error):
                    raise

        self._ask(ask)

    def logs(self, submission_id: str, *, max_bytes: int = 2**20) -> str:
        """The end of the driver's log."""

        def ask(client: JobSubmissionClient) -> str:
            try:
                return client.get_job_logs(submission_id)
            except RuntimeError as error:
                if _unheard(error):
                    return ""
                raise

        return self._ask(ask).encode()[-max_bytes:].decode(errors="replace")

    def _ask(self, question: Callable[[JobSubmissionClient], T]) -> T:
        from ray.exceptions import AuthenticationError
        from requests import RequestException

        try:
            with self._lock:
                client = self._client = self._client or self._connect()
            return question(client)
        except AuthenticationError as error:
            self._client = None
            raise LauncherDown(
                f"Ray at {self._address} refused our token. Set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN to "
                "what the cluster was started with."
            ) from error
        except (ConnectionError, RequestException, RuntimeError, OSError) as error:
            self._client = None  # the cluster may come back elsewhere, or as another one
            message = redact_text(str(error)).strip().splitlines() or [type(error).__name__]
            raise LauncherDown(f"Ray at {self._address} does not answer as it should: {message[0][:300]}") from error

    def _connect(self) -> JobSubmissionClient:
        from ray.job_submission import JobSubmissionClient

        return JobSubmissionClient(self._address, headers=auth_headers() or None)


def entrypoint(python: str, request: LaunchRequest) -> str:
    """The shell command of an attempt, every word quoted."""
    return shlex.join([python, *request.arguments()])


def auth_headers() -> dict[str, str]:
    """The token of this process's environment, as Ray's dashboard wants it; empty without token mode.

    Raises:
        LauncherDown: Token mode is on and there is no token.
    """
    if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
        return {}
    token = os.environ.get("RAY_AUTH_TOKEN", "")
    path = os.environ.get("RAY_AUTH_TOKEN_PATH")
    if not token and path:
        try:
            token = Path(path).read_text().strip()
        except OSError as error:
            raise LauncherDown(f"RAY_AUTH_TOKEN_PATH ({path}) cannot be read: {error.strerror}.") from error
    return {"Authorization": f"Bearer {token}"} if token else {}


def _unheard(error: RuntimeError) -> bool:
    return "status code 404" in str(error) and "does not exist" in str(error)
