"""The launcher that the reconciler sees: attempts as RayJobs, launched by server-side apply.

Two reconcilers that launch the same attempt apply the same object, so one RayJob comes of it. A name
that somebody else has taken is never forced. Status comes from a watched copy while that is fresh, and
from the server otherwise; only the server's own word makes an attempt UNKNOWN. Stopping is deleting:
KubeRay stops the Ray job first, and the cluster goes with its owner. Promotions never come here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

from udair_platform.errors import LauncherDown, NoCapacity, NotLaunched
from udair_platform.kubernetes.answers import ApiRefused, Object
from udair_platform.kubernetes.api import KubeApi
from udair_platform.scheduler.launcher import ALIVE, Cause, Launcher, LaunchRequest, LaunchState
from udair_platform.scheduler.launchers.kuberay import rayjob as body
from udair_platform.scheduler.launchers.kuberay.api import EVENTS, PODS, RAYJOBS, connect
from udair_platform.scheduler.launchers.kuberay.findings import Findings, cause_of, finding_in, state_of
from udair_platform.scheduler.launchers.kuberay.informer import Informer, Pace
from udair_platform.scheduler.launchers.kuberay.pod_logs import PodLogs
from udair_platform.scheduler.launchers.kuberay.settings import KUBERAY_VERSION, KubeSettings
from udair_platform.settings import Settings
from udair_platform.telemetry import logger

HOPELESS_AFTER_S = 120.0
_log = logger("launcher.kuberay")


class KubeRayLauncher(Launcher):
    """Attempts on a Kubernetes cluster with the KubeRay operator.

    Args:
        platform: Deadlines, and what a job reserves.
        settings: What the cluster is like.
        api: The API server.
        hopeless_after_s: An image that cannot be pulled for so long fails its attempt.
        pace: Of the watches.
    """

    def __init__(
        self,
        platform: Settings,
        settings: KubeSettings,
        api: KubeApi,
        *,
        hopeless_after_s: float = HOPELESS_AFTER_S,
        pace: Pace | None = None,
    ) -> None:
        self._platform, self._settings, self._api = platform, settings, api
        self._hopeless_after_s = hopeless_after_s
        self._scope = None if settings.namespace_per_tenant else settings.namespace
        self._findings, self._logs = Findings(), PodLogs(api)
        ours = body.selector(settings)
        self._rayjobs = Informer(api, RAYJOBS, self._scope, ours, pace=pace)
        self._pods = Informer(api, PODS, self._scope, ours, on_change=self._findings.note, pace=pace)

    def launch(self, request: LaunchRequest) -> None:
        """Apply the attempt's RayJob, unless there is one.

        Raises:
            NoCapacity: The tenant's namespace is not there, or is going.
            NotLaunched: The quota is used up, or the server does not accept the RayJob.
        """
        if self._ask(request.submission_id) is not None:
            _log.info("launched already", submission_id=request.submission_id)
            return
        self._apply(request)

    def check(self, tenant: str) -> None:
        """Try everything that a launch needs, and leave nothing behind.

        Raises:
            LauncherDown, NoCapacity, NotLaunched: As `launch` would.
        """
        self._api.find(RAYJOBS, self._scope, labels=body.selector(self._settings))
        self._apply(LaunchRequest("j-check-0", "file:///nowhere/spec.json", tenant=tenant), dry_run=True)

    def status(self, submission_id: str) -> LaunchState:
        """What KubeRay says; FAILED also when the attempt's pods wait for what only people can mend."""
        found = self._find(submission_id)
        if found is None:
            return LaunchState.UNKNOWN
        state = state_of(found)
        label = _attempt(found)
        if state is LaunchState.PENDING and self._findings.hopeless(label, self._hopeless_after_s):
            return LaunchState.FAILED
        return state

    def cause(self, submission_id: str) -> Cause | None:
        """Why it ended or does not start, from its RayJob, its pods and their events."""
        attempt = self._label(submission_id)
        found = self._find(submission_id)
        finding = self._findings.of(attempt)
        told = finding is not None and not finding.waiting
        if not self._pods.fresh or not (told or (found is not None and state_of(found) in ALIVE)):
            # The copy of the pods may lag behind that of the RayJobs, and why an attempt ended is asked for once.
            self._look_at_pods(submission_id)
            finding = self._findings.of(attempt)
        if found is None:
            return finding.cause if finding else None
        return cause_of(found, finding, self._events(found) if finding is None else ())

    def stop(self, submission_id: str) -> None:
        """Delete the RayJob, and with it the cluster."""
        found = self._ask(submission_id)
        if found is not None and "deletionTimestamp" not in found["metadata"]:
            meta = found["metadata"]
            with self._refusals(submission_id, meta["namespace"]):
                self._api.delete(RAYJOBS, meta["namespace"], meta["name"], uid=meta["uid"])

    def logs(self, submission_id: str, *, max_bytes: int = 2**20) -> str:
        """What its pods printed, head first, while they exist: Ray's words, and the job's from where it ran."""
        pods = self._pods_of(submission_id)
        with self._refusals(submission_id, pods[0]["metadata"]["namespace"] if pods else ""):
            logs = self._logs.of(pods, max_bytes=max_bytes)
        printed = "\n".join(f"==> {name} <==\n{log}" for name, log in logs)
        return printed.encode()[-max_bytes:].decode(errors="replace")

    def held(self) -> Collection[str]:
        """Attempts whose RayJobs live, or have ended and are past the time at which KubeRay deletes them."""
        found, _ = self._api.find(RAYJOBS, self._scope, labels=body.selector(self._settings))
        return [one["spec"]["jobId"] for one in found if self._holds(one)]

    def close(self) -> None:
        """End the watches."""
        self._rayjobs.close()
        self._pods.close()
        self._api.close()

    def _apply(self, request: LaunchRequest, *, dry_run: bool = False) -> None:
        wanted = body.rayjob(self._platform, self._settings, request)
        namespace = wanted["metadata"]["namespace"]
        with self._refusals(request.submission_id, namespace):
            try:
                self._api.apply(RAYJOBS, wanted, dry_run=dry_run)
            except ApiRefused as error:
                if error.code != HTTPStatus.CONFLICT or self._ask(request.submission_id) is None:
                    raise
                # Another reconciler's launch of the same attempt, which Kueue or a person has touched since.
                _log.info("launched already", submission_id=request.submission_id, detail=error.message)

    @contextlib.contextmanager
    def _refusals(self, submission_id: str, namespace: str) -> Any:
        try:
            yield
        except ApiRefused as error:
            raise _explained(error, submission_id, namespace) from error

    def _find(self, submission_id: str) -> Object | None:
        """From the copy if it is fresh and has it; nothing is missing only because the copy lags."""
        self._rayjobs.start()
        self._pods.start()
        if self._rayjobs.fresh:
            known = self._rayjobs.all_with(body.ATTEMPT, self._label(submission_id))
            if known:
                return known[0]
        return self._ask(submission_id)

    def _ask(self, submission_id: str) -> Object | None:
        found, _ = self._api.find(RAYJOBS, self._scope, labels=body.selector(self._settings, submission_id))
        return found[0] if found else None

    def _label(self, submission_id: str) -> str:
        return body.labels_of(self._settings, LaunchRequest(submission_id, ""))[body.ATTEMPT]

    def _pods_of(self, submission_id: str) -> list[Object]:
        if self._pods.fresh:
            found = self._pods.all_with(body.ATTEMPT, self._label(submission_id))
        else:
            found, _ = self._api.find(PODS, self._scope, labels=body.selector(self._settings, submission_id))
        return sorted(found, key=lambda pod: (_role(pod) != "head", pod["metadata"]["name"]))

    def _look_at_pods(self, submission_id: str) -> None:
        pods, _ = self._api.find(PODS, self._scope, labels=body.selector(self._settings, submission_id))
        for pod in pods:
            if finding_in(pod) is not None:
                self._findings.note(pod)

    def _events(self, found: Object) -> list[Object]:
        meta, status = found["metadata"], found.get("status") or {}
        names = {meta["name"], status.get("rayClusterName")} - {None, ""}
        events: list[Object] = []
        for name in sorted(names):
            with self._refusals(meta["name"], meta["namespace"]):
                events += self._api.find(EVENTS, meta["namespace"], fields=f"involvedObject.name={name}")[0]
        return events

    def _holds(self, found: Object) -> bool:
        if "deletionTimestamp" in found["metadata"]:
            return False
        if state_of(found) in ALIVE:
            return True
        status = found.get("status") or {}
        ended = status.get("endTime") or found["metadata"]["creationTimestamp"]
        # The operator deletes neither the cluster nor the RayJob of one that was stopped, whatever its rules.
        theirs = 0 if status.get("jobStatus") == "STOPPED" else 2 * body.KEPT_LONGER_S
        kept = timedelta(seconds=self._settings.ttl_s + theirs)
        return datetime.now(UTC) - datetime.fromisoformat(ended) > kept


def make_kuberay_launcher(platform: Settings, settings: KubeSettings) -> KubeRayLauncher:
    """The launcher for the cluster that `settings` name.

    Raises:
        LauncherDown: No kubeconfig and no pod's account.
    """
    return KubeRayLauncher(platform, settings, connect(settings))


def _attempt(found: Object) -> str:
    return str((found["metadata"].get("labels") or {}).get(body.ATTEMPT, ""))


def _role(pod: Object) -> str:
    return str((pod["metadata"].get("labels") or {}).get("ray.io/node-type", ""))


def _explained(error: ApiRefused, submission_id: str, namespace: str) -> Exception:
    if error.caused_by("NamespaceTerminating"):
        return NoCapacity(f"Namespace {namespace} is being deleted; {submission_id} waits until it is there again.")
    if error.code == HTTPStatus.NOT_FOUND and error.details.get("kind") == "namespaces":
        return NoCapacity(f"Namespace {namespace} does not exist; make it, and the launcher's Role in it.")
    if error.code == HTTPStatus.FORBIDDEN and "exceeded quota" in error.message:
        return NotLaunched(f"Namespace {namespace} has no room: {error.message}", reason="QUOTA_EXCEEDED")
    if error.code == HTTPStatus.CONFLICT:
        return NotLaunched(
            f"{body.name_of(submission_id)} in namespace {namespace} belongs to somebody else, and nothing is "
            f"forced: {error.message}"
        )
    if error.code == HTTPStatus.BAD_REQUEST:
        return NotLaunched(
            f"The cluster's RayJob is not that of KubeRay {KUBERAY_VERSION}; upgrade its CRDs: {error.message}"
        )
    if error.code == HTTPStatus.GONE:
        return LauncherDown(f"The Kubernetes API server lost its place; the next try begins anew: {error.message}")
    return NotLaunched(f"The Kubernetes API server refused {submission_id} ({error.code}): {error.message}")
