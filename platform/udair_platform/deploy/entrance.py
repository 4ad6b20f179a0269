"""The way in from outside: routes of the Gateway API, or an Ingress with what its controller needs to be told."""

from __future__ import annotations

from udair_platform.deploy.manifests import Manifests, Object
from udair_platform.deploy.settings import DeploySettings, Gateway

# Pictures are larger than nginx lets through by itself, and streams of events say something every 15 s.
NEEDED = {
    "nginx": {
        "nginx.ingress.kubernetes.io/proxy-body-size": "32m",
        "nginx.ingress.kubernetes.io/proxy-read-timeout": "130",
        "nginx.ingress.kubernetes.io/proxy-buffering": "off",
    },
    "alb": {
        "alb.ingress.kubernetes.io/scheme": "internet-facing",
        "alb.ingress.kubernetes.io/target-type": "ip",
        "alb.ingress.kubernetes.io/listen-ports": '[{"HTTPS": 443}]',
        "alb.ingress.kubernetes.io/healthcheck-path": "/healthz",
        "alb.ingress.kubernetes.io/load-balancer-attributes": "idle_timeout.timeout_seconds=130",
    },
}


def set_entrance(made: Manifests, settings: DeploySettings) -> None:
    """Leave the way in that the settings choose, for their hosts."""
    ingress = made.get("Ingress", "udair")
    if settings.gateway:
        made.objects.remove(ingress)
        _gateway(made, settings, settings.gateway)
    else:
        _ingress(ingress, settings)


def _ingress(ingress: Object, settings: DeploySettings) -> None:
    name, hosts = settings.ingress_class or "", [settings.host, settings.serve_host]
    if annotations := NEEDED.get(name, {}) | settings.ingress_annotations:
        ingress["metadata"]["annotations"] = annotations
    spec = ingress["spec"]
    spec["ingressClassName"] = name
    spec["tls"] = [{"hosts": hosts} | ({"secretName": settings.tls_secret} if settings.tls_secret else {})]
    for rule, host in zip(spec["rules"], hosts, strict=True):
        rule["host"] = host


def _gateway(made: Manifests, settings: DeploySettings, wanted: Gateway) -> None:
    gateway = made.get("Gateway", "udair")
    if wanted.class_name:
        gateway["spec"]["gatewayClassName"] = wanted.class_name
        for listener, host in zip(gateway["spec"]["listeners"], (settings.host, settings.serve_host), strict=True):
            listener["hostname"] = host
            listener["tls"] = {"certificateRefs": [{"name": settings.tls_secret}]}
    else:
        made.objects.remove(gateway)
    for name, host in (("udair-api", settings.host), ("udair-restore", settings.serve_host)):
        spec = made.get("HTTPRoute", name)["spec"]
        spec["hostnames"] = [host]
        if wanted.name:
            spec["parentRefs"] = [{"name": wanted.name, "namespace": wanted.namespace}]
