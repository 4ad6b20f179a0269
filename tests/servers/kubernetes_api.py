"""A small faithful Kubernetes API server in this process, for any client over TLS.

It knows resource versions and 409, watches with bookmarks and 410, the status subresource, server-side
apply, dry runs, CRDs with their schemas, RBAC with service accounts' tokens, quotas by count, namespaces
that end, finalizers and owners. It has no controllers: see kubernetes_operator.py. Built-in kinds are not
validated, and their lists are atomic.

    with KubernetesDouble(tmp_path) as cluster:
        cluster.kubeconfig      # a file for any client
        with cluster.down(): …  # connections are refused
        cluster.expire()        # 410 for every watch
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import kubernetes_apply as fields
import yaml
from kubernetes_access import Access
from kubernetes_paths import NoSuchPath, Target, discovery, target_of
from kubernetes_schema import check_metadata
from kubernetes_status import Object, StatusError, bad_request, expired, invalid, not_found
from kubernetes_store import CRDS, Store
from kubernetes_tls import make_certificate
from kubernetes_watch import events, selected

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class KubernetesDouble:
    """The server, started and stopped as a context.

    Args:
        folder: Where kubeconfigs are written.

    Attributes:
        bookmark_s: Time between two bookmarks of a watch.
        slow_s: Added to every request.
        logs: What pods/log answers, by (namespace, pod, container).
        silent: Names of pods whose kubelets do not answer.
        watches: Watches under way.
        writes: Method and query of every request that was no GET.
    """

    def __init__(self, folder: Path) -> None:
        self.store = Store()
        self.access = Access(self.store)
        self.folder = folder
        self.bookmark_s, self.slow_s = 0.2, 0.0
        self.logs: dict[tuple[str, str, str], str] = {}
        self.silent: set[str] = set()
        self.watches = 0
        self.writes: list[tuple[str, dict[str, str]]] = []
        self.refusals: list[StatusError] = []
        self._tls, self._trusted = make_certificate(folder)
        self._server: ThreadingHTTPServer | None = None
        self._connections: set[socket.socket] = set()
        self._port = 0

    def __enter__(self) -> KubernetesDouble:
        self._start()
        self.kubeconfig = self.kubeconfig_of(self.access.admin_token, "admin")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def kubeconfig_of(self, token: str, name: str) -> Path:
        """A kubeconfig file with that token."""
        path = self.folder / f"kubeconfig-{name}"
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "double",
                    "clusters": [
                        {
                            "name": "double",
                            "cluster": {
                                "server": f"https://127.0.0.1:{self._port}",
                                "certificate-authority-data": base64.b64encode(self._trusted).decode(),
                            },
                        }
                    ],
                    "users": [{"name": name, "user": {"token": token}}],
                    "contexts": [{"name": "double", "context": {"cluster": "double", "user": name}}],
                }
            )
        )
        return path

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Nobody listens at the address, and what was connected is cut off."""
        self._stop()
        try:
            yield
        finally:
            self._start()

    def expire(self) -> None:
        """Forget all history; running watches are told 410, as are those that go on from before."""
        self.store.compact()

    def _start(self) -> None:
        handler = type("Handler", (_Handler,), {"double": self})
        self._server = _Server(("127.0.0.1", self._port), handler)
        self._port = self._server.server_address[1]
        self._server.socket = self._tls.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def _stop(self) -> None:
        server, self._server = self._server, None
        assert server is not None
        server.shutdown()
        server.server_close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                # Not TLS's own shutdown, which takes the connection from the thread that uses it.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    @property
    def running(self) -> bool:
        """Whether it listens."""
        return self._server is not None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # whoever watched has gone
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One packet for an answer: two would wait for each other's acknowledgement.
    wbufsize, disable_nagle_algorithm = 2**16, True
    double: KubernetesDouble

    def setup(self) -> None:
        self.request.do_handshake()
        super().setup()
        self.double._connections.add(self.connection)

    def finish(self) -> None:
        self.double._connections.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _answer(self) -> None:
        time.sleep(self.double.slow_s)
        length = int(self.headers.get("Content-Length") or 0)
        data = self.rfile.read(length)
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        try:
            if self.double.refusals:
                raise self.double.refusals.pop(0)
            user = self.double.access.user(self.headers.get("Authorization") or "")
            if self.command == "GET" and (found := discovery(self.double.store, parts.path)) is not None:
                self._send(200, found)
                return
            target = target_of(self.double.store, parts.path)
            body = self._body(data)
            if self.command != "GET":
                self.double.writes.append((self.command, query))
            if self.command == "GET" and query.get("watch") in ("true", "1"):
                self._watch(user, target, query)
                return
            code, answer = self._do(user, target, query, body)
        except StatusError as error:
            code, answer = error.code, error.body()
        except BrokenPipeError:
            return
        except NoSuchPath:
            code, answer = 404, "404 page not found\n"
        self._send(code, answer)

    def _body(self, data: bytes) -> Any:
        if "protobuf" in (self.headers.get("Content-Type") or ""):
            text = "the body of the request was in an unknown format - accepted media types include: application/json"
            raise StatusError(415, "UnsupportedMediaType", text)
        try:
            return json.loads(data) if data else None
        except ValueError as error:
            raise bad_request(f"the object provided is no JSON: {error}") from error

    def _send(self, code: int, answer: Any) -> None:
        text = answer if isinstance(answer, str) else json.dumps(answer)
        data = text.encode()
        with contextlib.suppress(OSError):
            self.send_response(code)
            self.send_header("Content-Type", "text/plain" if isinstance(answer, str) else "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def _do(self, user: str, target: Target, query: dict[str, str], body: Any) -> tuple[int, Any]:
        kind, store, access = target.kind, self.double.store, self.double.access
        verb = _VERBS.get(self.command) or ("get" if target.name else "list")
        access.authorize(user, kind.group, target.resource, verb, target.namespace, target.name)
        dry_run = query.get("dryRun") == "All"
        if verb == "list":
            return 200, self._list(target, query)
        if verb == "get":
            return 200, self._log(target, query) if target.subresource == "log" else store.get(
                kind, target.namespace, target.name
            )
        if verb == "delete":
            options = body or {}
            uid = (options.get("preconditions") or {}).get("uid")
            orphan = options.get("propagationPolicy") == "Orphan"
            gone = store.delete(kind, target.namespace, target.name, uid=uid, orphan=orphan, dry_run=dry_run)
            return 200, gone
        if target.resource == "serviceaccounts/token":
            store.get(kind, target.namespace, target.name)
            return 201, {**body, "status": {"token": access.token_of(target.namespace, target.name)}}
        with store.changed:
            return self._write(user, target, query, body, verb, dry_run)

    def _write(
        self, user: str, target: Target, query: dict[str, str], body: Any, verb: str, dry_run: bool
    ) -> tuple[int, Any]:
        kind, store = target.kind, self.double.store
        strict = query.get("fieldValidation") == "Strict"
        manager = query.get("fieldManager") or (self.headers.get("User-Agent") or "unknown").split("/")[0]
        if not isinstance(body, dict):
            raise bad_request("the body is no object")
        body.setdefault("metadata", {})
        if target.namespace:
            if body["metadata"].get("namespace", target.namespace) != target.namespace:
                raise bad_request("the namespace of the object does not match the namespace of the request")
            body["metadata"]["namespace"] = target.namespace
        name = target.name or body["metadata"].get("name", "")
        old = store.find(kind, target.namespace, name)
        applying = verb == "patch" and "apply-patch" in (self.headers.get("Content-Type") or "")
        owner: str | None = manager
        if verb == "patch" and not applying:
            if old is None:
                raise not_found(kind.group, kind.plural, name)
            new = fields.merge_patch(old, body)
        elif applying:
            if "fieldManager" not in query:
                raise invalid("PatchOptions", "meta.k8s.io", "", [("fieldManager", "Required value")])
            if old is None:
                self.double.access.authorize(user, kind.group, kind.plural, "create", target.namespace, name)
            body["metadata"]["name"] = name
            body |= {"apiVersion": kind.api_version, "kind": kind.kind}
            if kind.definition:
                kind.definition.check_applied(body)
                checked = kind.definition.admit(body, strict=strict, old=old)
                body = fields.only_asked(checked, body)
            new = fields.apply(
                old,
                body,
                kind.schema,
                manager=manager,
                force=query.get("force") == "true",
                subresource=target.subresource,
            )
            owner = None
        else:
            new = body
            if verb == "update" and old is None:
                raise not_found(kind.group, kind.plural, name)
        if kind.of != CRDS:
            check_metadata(kind.kind, kind.group, new["metadata"])
        if kind.definition:
            new = kind.definition.admit(new, strict=strict, old=old)
        if old is None:
            if target.namespace:
                store._check_namespace(kind, target.namespace, name)
            self.double.access.admit(kind, new)
            return 201, store.create(kind, new, manager=manager, dry_run=dry_run)
        if verb == "create":
            return 201, store.create(kind, new, manager=manager, dry_run=dry_run)
        made = store.update(
            kind, new, manager=owner, subresource=target.subresource, dry_run=dry_run, merged=verb == "patch"
        )
        return 200, made

    def _list(self, target: Target, query: dict[str, str]) -> Object:
        store, chosen = self.double.store, selected(query)
        with store.changed:
            found = [one for one in store.all(target.kind.of, target.namespace) if chosen(one)]
            version = store.version
        start = int(query.get("continue") or 0)
        end = start + int(query.get("limit") or len(found) or 1)
        meta: Object = {"resourceVersion": str(version)}
        if end < len(found):
            meta["continue"] = str(end)
        kind = target.kind
        return {"apiVersion": kind.api_version, "kind": f"{kind.kind}List", "metadata": meta, "items": found[start:end]}

    def _log(self, target: Target, query: dict[str, str]) -> str:
        pod = self.double.store.get(target.kind, target.namespace, target.name)
        ends = time.monotonic() + 10  # then a server gives a kubelet up
        while target.name in self.double.silent:
            time.sleep(0.02)
            if time.monotonic() > ends:
                raise StatusError(500, "InternalError", "net/http: TLS handshake timeout")
        container = query.get("container") or pod["spec"]["containers"][0]["name"]
        known = self.double.logs.get((target.namespace, target.name, container))
        if known is None:
            raise bad_request(f'container "{container}" in pod "{target.name}" is waiting to start: ContainerCreating')
        lines = known.splitlines(keepends=True)
        return "".join(lines[-int(query.get("tailLines") or len(lines) or 1) :])

    def _watch(self, user: str, target: Target, query: dict[str, str]) -> None:
        kind, store = target.kind, self.double.store
        self.double.access.authorize(user, kind.group, target.resource, "watch", target.namespace)
        chosen = selected(query)
        with store.changed:
            version = int(query.get("resourceVersion") or 0) or store.version
            too_old = version < store.compacted
        if too_old:
            raise expired(version, store.compacted)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        ends = time.monotonic() + float(query.get("timeoutSeconds") or 300)
        self.double.watches += 1
        try:
            bookmark_s = self.double.bookmark_s if query.get("allowWatchBookmarks") == "true" else None
            follow = events(store, kind, target.namespace, chosen, version=version, ends=ends, bookmark_s=bookmark_s)
            for change, one in follow:
                self._event(change, one)
                if not self.double.running:
                    return
            self.wfile.write(b"0\r\n\r\n")
            self.wfile.flush()
        except OSError:
            self.close_connection = True
        finally:
            self.double.watches -= 1

    def _event(self, change: str, one: Object) -> None:
        line = json.dumps({"type": change, "object": one}).encode() + b"\n"
        self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
        self.wfile.flush()
