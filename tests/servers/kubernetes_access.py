"""Who may do what, and what is let in: tokens, RBAC, quotas counted by object, Pod Security ``restricted``."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

from kubernetes_status import Object, StatusError, forbidden, named
from kubernetes_store import Kind, Store

_RBAC = "rbac.authorization.k8s.io"
_ENFORCE = "pod-security.kubernetes.io/enforce"


@dataclass
class Access:
    """Authentication, authorization and admission over a store.

    Attributes:
        admin_token: Of a user in system:masters.
        checked: Every (user, group, resource, verb) that was asked about, as RBAC names them.
    """

    store: Store
    admin_token: str = field(default_factory=lambda: secrets.token_hex(8))
    checked: list[tuple[str, str, str, str]] = field(default_factory=list)
    _tokens: dict[str, str] = field(default_factory=dict)

    def token_of(self, namespace: str, account: str) -> str:
        """A new token of a service account."""
        token = secrets.token_hex(16)
        self._tokens[token] = f"system:serviceaccount:{namespace}:{account}"
        return token

    def user(self, authorization: str) -> str:
        """Who sent the header, else 401."""
        token = authorization.removeprefix("Bearer ")
        if token == self.admin_token:
            return "admin"
        if token not in self._tokens:
            raise StatusError(401, "Unauthorized", "Unauthorized")
        return self._tokens[token]

    def authorize(self, user: str, group: str, resource: str, verb: str, namespace: str, name: str = "") -> None:
        """The user may, else 403."""
        self.checked.append((user, group, resource, verb))
        if user == "admin" or any(_allows(rule, group, resource, verb) for rule in self._rules(user, namespace)):
            return
        where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
        why = f'User "{user}" cannot {verb} resource "{resource}" in API group "{group}" {where}'
        raise forbidden(group, resource.partition("/")[0], name, why)

    def admit(self, kind: Kind, new: Object) -> None:
        """The namespace has room for the new object and lets it in, else 403."""
        namespace = new["metadata"].get("namespace", "")
        counted = f"count/{named(kind.group, kind.plural)}"
        for quota in self.store.all(("", "resourcequotas"), namespace) if namespace else ():
            hard = (quota.get("status") or {}).get("hard") or quota.get("spec", {}).get("hard") or {}
            for name in (counted, kind.plural):
                used = len(self.store.all(kind.of, namespace))
                if name in hard and used + 1 > int(hard[name]):
                    why = (
                        f"exceeded quota: {quota['metadata']['name']}, requested: {name}=1, used: {name}={used}, "
                        f"limited: {name}={hard[name]}"
                    )
                    raise forbidden(kind.group, kind.plural, new["metadata"]["name"], why)
        if kind.of == ("", "pods"):
            within = self.store.find(self.store.kind("", "v1", "namespaces"), "", namespace)
            if ((within or {}).get("metadata", {}).get("labels") or {}).get(_ENFORCE) == "restricted":
                wrong = list(violations(new["spec"]))
                if wrong:
                    why = f'violates PodSecurity "restricted:latest": {", ".join(wrong)}'
                    raise forbidden("", "pods", new["metadata"]["name"], why)

    def _rules(self, user: str, namespace: str) -> Iterator[Object]:
        bindings = [(_RBAC, "clusterrolebindings"), *([(_RBAC, "rolebindings")] if namespace else [])]
        for of in bindings:
            for binding in self.store.all(of, namespace if of[1] == "rolebindings" else ""):
                if any(_names(subject, user) for subject in binding.get("subjects") or ()):
                    ref = binding["roleRef"]
                    plural = "roles" if ref["kind"] == "Role" else "clusterroles"
                    kind = self.store.kind(_RBAC, "v1", plural)
                    role = self.store.find(kind, namespace if plural == "roles" else "", ref["name"])
                    yield from (role or {}).get("rules") or ()


def _names(subject: Object, user: str) -> bool:
    if subject["kind"] == "ServiceAccount":
        return user == f"system:serviceaccount:{subject['namespace']}:{subject['name']}"
    return user == subject["name"]


def _allows(rule: Object, group: str, resource: str, verb: str) -> bool:
    asked = (("apiGroups", group), ("resources", resource), ("verbs", verb))
    return all(value in rule.get(key, ()) or "*" in rule.get(key, ()) for key, value in asked)


def violations(spec: Object) -> Iterator[str]:
    """What in a pod is not allowed by the Pod Security level ``restricted``."""
    pod = spec.get("securityContext") or {}
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name):
            yield name
    for container in [*(spec.get("initContainers") or ()), *spec["containers"]]:
        own, name = container.get("securityContext") or {}, container["name"]
        if own.get("allowPrivilegeEscalation") is not False:
            yield f'allowPrivilegeEscalation != false (container "{name}")'
        if "ALL" not in ((own.get("capabilities") or {}).get("drop") or ()):
            yield f'unrestricted capabilities (container "{name}")'
        if not (own.get("runAsNonRoot") or pod.get("runAsNonRoot")):
            yield f'runAsNonRoot != true (container "{name}")'
        if 0 in (own.get("runAsUser"), pod.get("runAsUser")):
            yield f'runAsUser=0 (container "{name}")'
        profile = (own.get("seccompProfile") or pod.get("seccompProfile") or {}).get("type")
        if profile not in ("RuntimeDefault", "Localhost"):
            yield f'seccompProfile (container "{name}")'
        if own.get("privileged"):
            yield f'privileged (container "{name}")'
