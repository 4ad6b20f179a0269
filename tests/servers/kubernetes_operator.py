"""Stands where the KubeRay operator, the scheduler and the kubelet stand: moves RayJobs, and makes and hurts their pods.

It works over the API like any controller, so it also serves a real API server that has no operator.
What it writes is what KubeRay 1.7.0 and a kubelet write: phases of the status, labels, owners, the finalizer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

from kubernetes import client

Object = dict[str, Any]
GROUP, VERSION = "ray.io", "v1"
FINALIZER = "ray.io/rayjob-finalizer"


class OperatorDouble:
    """Acts on RayJobs of one namespace, each step when it is told to.

    Args:
        connection: Of somebody who may do everything.
    """

    def __init__(self, connection: client.ApiClient, namespace: str) -> None:
        self._rays = client.CustomObjectsApi(connection)
        self._core = client.CoreV1Api(connection)
        self.namespace = namespace

    def rayjob(self, name: str) -> Object:
        """The RayJob as it is."""
        return self._rays.get_namespaced_custom_object(GROUP, VERSION, self.namespace, "rayjobs", name)

    def rayjobs(self) -> list[Object]:
        """All of them."""
        return self._rays.list_namespaced_custom_object(GROUP, VERSION, self.namespace, "rayjobs")["items"]

    def adopt(self, service: str) -> None:
        """The first reconcile of a RayService, an Update of the whole: a finalizer, and what Go writes for an empty struct."""
        kind = (GROUP, VERSION, self.namespace, "rayservices")
        found = self._rays.get_namespaced_custom_object(*kind, service)
        found["metadata"]["finalizers"] = [FINALIZER.replace("rayjob", "rayservice")]
        for group in found["spec"]["rayClusterConfig"]["workerGroupSpecs"]:
            group.setdefault("scaleStrategy", {})
        self._rays.replace_namespaced_custom_object(*kind, service, found, field_manager="kuberay-operator")

    def serve(self, service: str, cluster: str, *, pending: str = "", application: str = "RUNNING") -> None:
        """A later reconcile of a RayService: which of its clusters serves, and which is being built."""
        kind = (GROUP, VERSION, self.namespace, "rayservices")
        found = self._rays.get_namespaced_custom_object(*kind, service)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        ready = {"type": "Ready", "status": "True", "reason": "NonZeroServeEndpoints", "lastTransitionTime": now}
        status = {
            "observedGeneration": found["metadata"]["generation"],
            "numServeEndpoints": 1,
            "activeServiceStatus": {
                "rayClusterName": cluster,
                "applicationStatuses": {"udair": {"status": application}},
            },
            "pendingServiceStatus": {"rayClusterName": pending or None},
            "conditions": [ready | {"message": "Number of serve endpoints is greater than 0"}],
        }
        self._rays.patch_namespaced_custom_object_status(
            *kind, service, {"status": status}, field_manager="kuberay-operator"
        )

    def status(self, name: str, **status: Any) -> None:
        """Write into the status subresource, as the operator does."""
        self._rays.patch_namespaced_custom_object_status(
            GROUP, VERSION, self.namespace, "rayjobs", name, {"status": status}, field_manager="kuberay-operator"
        )

    def start(self, name: str, *, pods: bool = True) -> None:
        """New → Initializing: finalizer, cluster, pods that run."""
        job = self.rayjob(name)
        patch = {"metadata": {"finalizers": [FINALIZER]}}
        self._rays.patch_namespaced_custom_object(
            GROUP, VERSION, self.namespace, "rayjobs", name, patch, field_manager="kuberay-operator"
        )
        cluster = f"{name}-abcde"
        started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.status(
            name,
            jobId=job["spec"]["jobId"],
            rayClusterName=cluster,
            jobDeploymentStatus="Initializing",
            startTime=started,
        )
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "RayCluster",
            "metadata": {
                "name": cluster,
                "labels": {"ray.io/originated-from-cr-name": name, "ray.io/originated-from-crd": "RayJob"},
                "ownerReferences": [_owner(job)],
            },
            "spec": job["spec"]["rayClusterSpec"],
        }
        made = self._rays.create_namespaced_custom_object(
            GROUP, VERSION, self.namespace, "rayclusters", body, field_validation="Strict"
        )
        if not pods:
            return
        groups = [("headgroup", "head", job["spec"]["rayClusterSpec"]["headGroupSpec"], 1)]
        for group in job["spec"]["rayClusterSpec"].get("workerGroupSpecs") or ():
            groups.append((group["groupName"], "worker", group, group["replicas"]))
        for group, role, spec, count in groups:
            for number in range(count):
                self._pod(made, f"{cluster}-{role}-{number}", group, role, spec["template"])

    def run(self, name: str) -> None:
        """Initializing → Running, and the Ray job runs."""
        self.status(name, jobDeploymentStatus="Running", jobStatus="RUNNING", dashboardURL="head.svc:8265")

    def end(self, name: str, job: str, reason: str = "", message: str = "") -> None:
        """The Ray job has come to its end: SUCCEEDED, FAILED or STOPPED; or "" where it never began."""
        deployment = "Complete" if job in ("SUCCEEDED", "STOPPED") else "Failed"
        ended = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.status(name, jobDeploymentStatus=deployment, jobStatus=job, reason=reason, message=message, endTime=ended)

    def pods(self, name: str, role: str) -> list[str]:
        """Names of the pods of that role (head, worker)."""
        labels = f"ray.io/cluster={name}-abcde,ray.io/node-type={role}"
        found = self._core.list_namespaced_pod(self.namespace, label_selector=labels).items
        return sorted(pod.metadata.name for pod in found)

    def hurt(self, pod: str, how: str) -> None:
        """Let something happen to a pod: a name of WOUNDS."""
        self.write_pod(pod, WOUNDS[how](pod))

    def write_pod(self, pod: str, status: Object) -> None:
        """Write a pod's status, as a kubelet does."""
        self._core.patch_namespaced_pod_status(
            pod, self.namespace, {"status": status}, _content_type="application/merge-patch+json"
        )

    def lose(self, pod: str) -> None:
        """The pod is removed at once, as the garbage collector does when its node is gone."""
        self._core.delete_namespaced_pod(pod, self.namespace, grace_period_seconds=0)

    def event(self, about: str, message: str, reason: str = "FailedToCreateHeadPod") -> None:
        """A warning about a RayJob's cluster."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {
            "metadata": {"generateName": f"{about}.", "name": f"{about}.{datetime.now(UTC):%f}"},
            "involvedObject": {"kind": "RayCluster", "name": about, "namespace": self.namespace},
            "reason": reason,
            "message": message,
            "type": "Warning",
            "count": 1,
            "firstTimestamp": now,
            "lastTimestamp": now,
        }
        self._core.create_namespaced_event(self.namespace, body)

    def reap(self) -> None:
        """Let go of every RayJob that is being deleted."""
        for job in self.rayjobs():
            if "deletionTimestamp" in job["metadata"]:
                self._rays.patch_namespaced_custom_object(
                    GROUP,
                    VERSION,
                    self.namespace,
                    "rayjobs",
                    job["metadata"]["name"],
                    {"metadata": {"finalizers": None}},
                )

    def work(self, run: Callable[[Object], str | None]) -> None:
        """One pass over everything: reap, start what is new, and `run` it: its end, "" while it runs, or None.

        None is a RayJob whose pods do not come up: nobody who watches ever sees it run.
        """
        self.reap()
        for job in self.rayjobs():
            name, phase = job["metadata"]["name"], (job.get("status") or {}).get("jobDeploymentStatus", "")
            if "deletionTimestamp" in job["metadata"] or phase in ("Complete", "Failed", "Suspended"):
                continue
            if phase == "":
                self.start(name)
            outcome = run(job)
            if outcome is not None and phase != "Running":
                self.run(name)
            if outcome:
                self.end(name, outcome, "AppFailed" if outcome == "FAILED" else "")

    def _pod(self, cluster: Object, name: str, group: str, role: str, template: Object) -> None:
        template = deepcopy(template)
        labels = template["metadata"].get("labels") or {}
        labels |= {
            "ray.io/cluster": cluster["metadata"]["name"],
            "ray.io/group": group,
            "ray.io/node-type": role,
            "ray.io/is-ray-node": "yes",
        }
        meta = {"name": name, "labels": labels, "ownerReferences": [_owner(cluster)]}
        self._core.create_namespaced_pod(self.namespace, {"metadata": meta, "spec": template["spec"]})
        self.write_pod(name, {"phase": "Running", "containerStatuses": [_container(role, {"running": {}})]})


def _owner(one: Object) -> Object:
    return {
        "apiVersion": one["apiVersion"],
        "kind": one["kind"],
        "name": one["metadata"]["name"],
        "uid": one["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _container(role: str, state: Object) -> Object:
    return {
        "name": f"ray-{role}",
        "image": "example.org/udair-jobs:1",
        "imageID": "",
        "ready": "running" in state,
        "restartCount": 0,
        "state": state,
    }


def _role(pod: str) -> str:
    return "head" if "-head-" in pod else "worker"


def _ended(reason: str, code: int) -> Callable[[str], Object]:
    def status(pod: str) -> Object:
        state = {"terminated": {"reason": reason, "exitCode": code}}
        return {"phase": "Failed", "containerStatuses": [_container(_role(pod), state)]}

    return status


def _waiting(reason: str, message: str) -> Callable[[str], Object]:
    def status(pod: str) -> Object:
        state = {"waiting": {"reason": reason, "message": message}}
        return {"phase": "Pending", "containerStatuses": [_container(_role(pod), state)]}

    return status


def _condition(kind: str, status: str, reason: str, message: str, phase: str) -> Callable[[str], Object]:
    condition = {"type": kind, "status": status, "reason": reason, "message": message}
    return lambda _: {"phase": phase, "conditions": [condition], "containerStatuses": []}


def _failed(reason: str, message: str) -> Callable[[str], Object]:
    return lambda _: {"phase": "Failed", "reason": reason, "message": message}


# What kubelets, schedulers and controllers write when that happens, after Kubernetes 1.36's source and documents.
WOUNDS: Mapping[str, Callable[[str], Object]] = {
    "oom killed": _ended("OOMKilled", 137),
    "image back-off": _waiting("ImagePullBackOff", 'Back-off pulling image "example.org/udair-jobs:1"'),
    "image not found": _waiting("ErrImagePull", "rpc error: code = NotFound desc = not found"),
    "secret missing": _waiting("CreateContainerConfigError", 'secret "udair-s3" not found'),
    "unschedulable": _condition(
        "PodScheduled", "False", "Unschedulable", "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.", "Pending"
    ),
    "evicted, memory": _failed("Evicted", "The node was low on resource: memory. Threshold quantity: 100Mi"),
    "evicted, disk": _failed("Evicted", "The node was low on resource: ephemeral-storage."),
    "preempted by the scheduler": _condition(
        "DisruptionTarget", "True", "PreemptionByScheduler", "default-scheduler: preempting to accommodate", "Failed"
    ),
    "drained": _condition("DisruptionTarget", "True", "EvictionByEvictionAPI", "Eviction API: evicting", "Running"),
    "node shut down": _failed("Terminated", "Pod was terminated in response to imminent node shutdown."),
    "node without room": _failed("OutOfcpu", "Pod was rejected: Node didn't have enough resource: cpu"),
    "node gone": _condition("DisruptionTarget", "True", "DeletionByPodGC", "PodGC: node no longer exists", "Failed"),
    "node unreachable": _condition(
        "DisruptionTarget",
        "True",
        "DeletionByTaintManager",
        "Taint manager: deleting due to NoExecute taint",
        "Running",
    ),
}
