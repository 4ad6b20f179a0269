"""An API server of Kubernetes as launcher and `udair deploy` speak to it: a few verbs on plain dictionaries.

Through the `kubernetes` client, which knows kubeconfigs, accounts of pods and their renewal. Every
write is validated strictly: a server that only warns drops unknown fields in silence.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import quote

import urllib3
from kubernetes import client

from udair_platform.kubernetes.answers import ApiRefused, Changes, Expired, KubernetesAway, Object, error_of
from udair_platform.telemetry import redact_text

_CONNECT_S, _READ_S = 5.0, 15.0
_PAGE = 500


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


class KubeApi:
    """An API server. Every verb may raise KubernetesAway (not now) or ApiRefused (not so).

    Args:
        connection: A client that knows where the server is and who we are.
        field_manager: Who owns the fields that are applied.
        away_s: A server that did not answer is not asked again for so long: a reconciler with many jobs
            would otherwise wait for each of them, and have no time for anything else.
    """

    def __init__(self, connection: client.ApiClient, field_manager: str, *, away_s: float = 0.0) -> None:
        self._client, self._field_manager = connection, field_manager
        self.host: str = connection.configuration.host
        self.away_s = away_s
        self._away: tuple[float, str] | None = None
        self._served: dict[str, Object] = {}

    def version(self) -> str:
        """The server's version, e.g. ``v1.36.0``."""
        return str(self._get("/version")["gitVersion"])

    def resource(self, api_version: str, kind: str) -> Resource | None:
        """What the server serves under that name; None if it knows no such kind. Asked once for each version."""
        group, _, version = api_version.rpartition("/")
        if api_version not in self._served:
            try:
                self._served[api_version] = self._get(Resource(group, version, "").path(None).rstrip("/"))
            except ApiRefused as error:
                if error.code == HTTPStatus.NOT_FOUND:
                    return None
                raise
        for one in self._served[api_version]["resources"]:
            if one["kind"] == kind and "/" not in one["name"]:
                return Resource(group, version, one["name"])
        return None

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        """One object as it is now, or None."""
        try:
            return self._get(resource.path(namespace, name))
        except ApiRefused as error:
            if error.code == HTTPStatus.NOT_FOUND:
                return None
            raise

    def find(
        self, resource: Resource, namespace: str | None, *, labels: str = "", fields: str = ""
    ) -> tuple[list[Object], str]:
        """Objects as they are now, and the version from which a watch goes on."""
        found: list[Object] = []
        more, version = "", ""
        while True:
            query = _given(labelSelector=labels, fieldSelector=fields, limit=str(_PAGE), **{"continue": more})
            page = self._get(resource.path(namespace), query)
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

    def apply(self, resource: Resource, body: Object, *, dry_run: bool = False, force: bool = False) -> Object:
        """Make the fields of `body` true, by server-side apply; others' fields are a conflict, unless `force`."""
        name, namespace = body["metadata"]["name"], body["metadata"].get("namespace")
        query = _given(
            fieldManager=self._field_manager,
            fieldValidation="Strict",
            force=str(force).lower(),
            dryRun="All" if dry_run else "",
        )
        content = "application/apply-patch+yaml"  # JSON is YAML
        answer = self._ask("PATCH", resource.path(namespace, name), query, body=body, content_type=content)
        applied: Object = json.loads(answer.data)
        return applied

    def delete(self, resource: Resource, namespace: str | None, name: str, *, uid: str) -> None:
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

    def log(self, namespace: str, pod: str, container: str, *, max_bytes: int, read_s: float = _READ_S) -> str:
        """The end of what the container printed; empty if it has not started or is gone."""
        # limitBytes keeps the beginning, so the end is asked for by lines.
        query = _given(container=container, tailLines=str(max(100, max_bytes // 80)))
        try:
            path = Resource("", "v1", "pods").path(namespace, pod) + "/log"
            # Behind it is a kubelet, whose silence says nothing of the server.
            answer = self._ask("GET", path, query, accept="*/*", read_s=read_s, passed_on=True)
        except ApiRefused as error:
            if error.code in (HTTPStatus.NOT_FOUND, HTTPStatus.BAD_REQUEST):
                return ""
            raise
        return bytes(answer.data)[-max_bytes:].decode(errors="replace")

    def close(self) -> None:
        """Give the connections up."""
        self._client.close()  # type: ignore[no-untyped-call]

    def refusal(self, error: ApiRefused) -> Exception:
        """What is raised instead of `error`, for those who know what it means."""
        return error

    def _get(self, path: str, query: list[tuple[str, str]] | None = None) -> Object:
        found: Object = json.loads(self._ask("GET", path, query or []).data)
        return found

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
        passed_on: bool = False,
    ) -> urllib3.BaseHTTPResponse:
        if (away := self._away) is not None and time.monotonic() < away[0]:
            raise KubernetesAway(away[1])
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
            lines = redact_text(str(error)).strip().splitlines() or [type(error).__name__]
            message = f"The Kubernetes API server at {self.host} does not answer: {lines[0][:300]}"
            if not passed_on:
                self._away = (time.monotonic() + self.away_s, message)
            raise KubernetesAway(message) from error
        if answer.status >= HTTPStatus.BAD_REQUEST:
            refused = error_of(answer)
            raise self.refusal(refused) if isinstance(refused, ApiRefused) else refused
        return answer


def _given(**query: str) -> list[tuple[str, str]]:
    return [(name, value) for name, value in query.items() if value]
