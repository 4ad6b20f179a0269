"""The API server as the launcher speaks to it: five verbs on plain dictionaries, and errors that say what to do.

Through the `kubernetes` client, which knows kubeconfigs, accounts of pods and their renewal. Every
write is validated strictly: a server that only warns drops unknown fields in silence.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import urllib3
from kubernetes import client, config

from udair_platform.errors import LauncherDown
from udair_platform.scheduler.launchers.kuberay.settings import KUBERAY_VERSION, KubeSettings
from udair_platform.telemetry import redact_text

FIELD_MANAGER = "udair-launcher"
_CONNECT_S, _READ_S = 5.0, 15.0
_PAGE = 500
_NOT_OF_THE_SCHEMA = "failed to create typed patch object"
Object = dict[str, Any]


@dataclass(frozen=True)
class Resource:
    """One kind of object, as URLs name it."""

    group: str
    version: str
    plural: str

    def path(self, namespace: str | None, name: str = "") -> str:
        """URL path of a collection (all namespaces without one) or of one object."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        within = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
        return f"{root}{within}/{self.plural}" + (f"/{quote(name, safe='')}" if name else "")


RAYJOBS = Resource("ray.io", "v1", "rayjobs")
PODS = Resource("", "v1", "pods")
EVENTS = Resource("", "v1", "events")


class ApiRefused(Exception):
    """The server answered, and not as asked. Those that mean "not now" are LauncherDown instead.

    Attributes:
        code: HTTP status.
        reason: Kubernetes' word for it, e.g. ``AlreadyExists``; empty if the answer was no Status.
        details: Of the Status: kind, name, causes.
    """

    def __init__(self, code: int, reason: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.details = code, reason, message, details or {}

    def caused_by(self, reason: str) -> bool:
        """Whether the Status names that cause."""
        return any(cause.get("reason") == reason for cause in self.details.get("causes") or ())


class Expired(Exception):
    """The server no longer knows what has changed since the version that was asked for: list anew."""


@dataclass
class Changes:
    """A watch under way; iterating gives (type, object) until the server ends it or `close` is called."""

    response: urllib3.BaseHTTPResponse
    closed: bool = field(default=False, init=False)

    def __iter__(self) -> Iterator[tuple[str, Object]]:
        rest = b""
        try:
            for chunk in self.response.stream(2**16, decode_content=True):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in filter(None, lines):
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise _watch_error(event["object"])
                    yield event["type"], event["object"]
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            if not self.closed:
                raise LauncherDown(f"The watch was cut off: {redact_text(str(error))[:200]}") from error
        finally:
            self.response.close()

    def close(self) -> None:
        """End the iteration, from any thread."""
        self.closed = True
        try:
            self.response.shutdown()
        except (ValueError, RuntimeError, OSError):  # it has ended already
            self.response.close()


class KubeApi:
    """An API server. Every verb may raise LauncherDown (not now) or Refused (not so).

    Args:
        connection: A client that knows where the server is and who we are.

    Attributes:
        away_s: A server that did not answer is not asked again for so long: a reconciler with many jobs
            would otherwise wait for each of them, and have no time for anything else.
    """

    def __init__(self, connection: client.ApiClient) -> None:
        self._client = connection
        self.away_s = 2.0
        self._away: tuple[float, str] | None = None

    def find(
        self, resource: Resource, namespace: str | None, *, labels: str = "", fields: str = ""
    ) -> tuple[list[Object], str]:
        """Objects as they are now, and the version from which a watch goes on."""
        found: list[Object] = []
        more, version = "", ""
        while True:
            query = _given(labelSelector=labels, fieldSelector=fields, limit=str(_PAGE), **{"continue": more})
            page = json.loads(self._ask("GET", resource.path(namespace), query).data)
            found += page.get("items") or []
            version, more = page["metadata"]["resourceVersion"], page["metadata"].get("continue") or ""
            if not more:
                return found, version

    def watch(self, resource: Resource, namespace: str | None, *, labels: str, version: str, seconds: int) -> Changes:
        """What changes after `version`, for at most `seconds`.

        Raises:
            Expired: Also while iterating.
        """
        query = _given(
            watch="true",
            allowWatchBookmarks="true",
            labelSelector=labels,
            resourceVersion=version,
            timeoutSeconds=str(seconds),
        )
        try:
            answer = self._ask("GET", resource.path(namespace), query, read_s=seconds + _READ_S, stream=True)
        except ApiRefused as error:
            if error.code == HTTPStatus.GONE:
                raise Expired from error
            raise
        return Changes(answer)

    def apply(self, resource: Resource, body: Object, *, dry_run: bool = False) -> Object:
        """Make the fields of `body` true, by server-side apply; fields that others own are a conflict."""
        name, namespace = body["metadata"]["name"], body["metadata"]["namespace"]
        query = _given(
            fieldManager=FIELD_MANAGER, fieldValidation="Strict", force="false", dryRun="All" if dry_run else ""
        )
        content = "application/apply-patch+yaml"  # JSON is YAML
        answer = self._ask("PATCH", resource.path(namespace, name), query, body=body, content_type=content)
        applied: Object = json.loads(answer.data)
        return applied

    def delete(self, resource: Resource, namespace: str, name: str, *, uid: str) -> None:
        """Delete that very object, with what it owns; one that is gone is no error."""
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid},
        }
        try:
            self._ask("DELETE", resource.path(namespace, name), [], body=body, content_type="application/json")
        except ApiRefused as error:
            if error.code not in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
                raise

    def log(self, namespace: str, pod: str, container: str, *, max_bytes: int) -> str:
        """The end of what the container printed; empty if it has not started or is gone."""
        # limitBytes keeps the beginning, so the end is asked for by lines.
        query = _given(container=container, tailLines=str(max(100, max_bytes // 80)))
        try:
            answer = self._ask("GET", PODS.path(namespace, pod) + "/log", query, accept="*/*")
        except ApiRefused as error:
            if error.code in (HTTPStatus.NOT_FOUND, HTTPStatus.BAD_REQUEST):
                return ""
            raise
        return bytes(answer.data)[-max_bytes:].decode(errors="replace")

    def close(self) -> None:
        """Give the connections up."""
        self._client.close()  # type: ignore[no-untyped-call]

    def _ask(
        self,
        method: str,
        path: str,
        query: list[tuple[str, str]],
        *,
        body: Object | None = None,
        content_type: str | None = None,
        accept: str = "application/json",
        read_s: float = _READ_S,
        stream: bool = False,
    ) -> urllib3.BaseHTTPResponse:
        if (away := self._away) is not None and time.monotonic() < away[0]:
            raise LauncherDown(away[1])
        headers = {"Accept": accept, **({"Content-Type": content_type} if content_type else {})}
        try:
            request = self._client.param_serialize(
                method=method,
                resource_path=path,
                query_params=query,
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
            )
            answer: urllib3.BaseHTTPResponse = self._client.call_api(
                *request, _request_timeout=(_CONNECT_S, read_s)
            ).response
            if answer.status >= HTTPStatus.BAD_REQUEST or not stream:
                answer.read(cache_content=True)
        except (urllib3.exceptions.HTTPError, client.ApiException, OSError) as error:
            said = redact_text(str(error)).strip().splitlines() or [type(error).__name__]
            text = f"The Kubernetes API server at {self._client.configuration.host} does not answer: {said[0][:300]}"
            self._away = (time.monotonic() + self.away_s, text)
            raise LauncherDown(text) from error
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise _error(answer)
        return answer


def connect(settings: KubeSettings) -> KubeApi:
    """A client by the kubeconfig that `settings` name, the pod's own account, or KUBECONFIG.

    Raises:
        LauncherDown: There is neither, or the kubeconfig cannot be read.
    """
    chosen = client.Configuration()
    in_cluster = settings.kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ
    try:
        if in_cluster:
            config.load_incluster_config(client_configuration=chosen)  # type: ignore[no-untyped-call]
        else:
            path = str(settings.kubeconfig or "") or os.environ.get("KUBECONFIG")
            config.load_kube_config(path, settings.context, client_configuration=chosen, persist_config=False)  # type: ignore[no-untyped-call]
    except (config.ConfigException, OSError, ValueError, KeyError, TypeError) as error:
        raise LauncherDown(
            f"No way to the Kubernetes API server: {redact_text(str(error))[:300]}. Set UDAIR_KUBE_KUBECONFIG, "
            "or run in a pod with a service account."
        ) from error
    chosen.retries = False  # the reconciler tries again, and knows when
    return KubeApi(client.ApiClient(chosen))


def _given(**query: str) -> list[tuple[str, str]]:
    return [(name, value) for name, value in query.items() if value]


def _status(data: bytes) -> Object:
    try:
        status = json.loads(data)
    except ValueError:
        return {}
    return status if isinstance(status, dict) and status.get("kind") == "Status" else {}


def _error(answer: urllib3.BaseHTTPResponse) -> Exception:
    status = _status(answer.data)
    reason, details = status.get("reason") or "", status.get("details") or {}
    message = redact_text(status.get("message") or bytes(answer.data).decode(errors="replace")).strip()[:1000]
    code = answer.status
    if code == HTTPStatus.NOT_FOUND and not details.get("kind"):
        return LauncherDown(
            f"The cluster has no ray.io/v1 RayJob: install KubeRay {KUBERAY_VERSION}, its CRDs and its operator "
            "(an older one without ray.io/v1 will not do)."
        )
    if code == HTTPStatus.UNAUTHORIZED:
        return LauncherDown("The Kubernetes API server does not know us (401): the kubeconfig's credentials are stale.")
    if code == HTTPStatus.FORBIDDEN and "is forbidden: User" in message:
        return LauncherDown(
            f"The launcher's account lacks a permission: {message}. scheduler/launchers/kuberay/rules.py lists all."
        )
    if _NOT_OF_THE_SCHEMA in message:
        # An applied field that the schema lacks is answered 500: kubernetes/kubernetes#139253.
        return ApiRefused(HTTPStatus.BAD_REQUEST, "BadRequest", message, details)
    if code == HTTPStatus.TOO_MANY_REQUESTS or code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return LauncherDown(f"The Kubernetes API server cannot answer now ({code}): {message[:300]}")
    return ApiRefused(code, reason, message, details)


def _watch_error(status: Object) -> Exception:
    if status.get("code") == HTTPStatus.GONE:
        return Expired()
    return LauncherDown(f"The watch failed: {redact_text(str(status.get('message')))[:200]}")
