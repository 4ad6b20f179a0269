"""What the double promises, and a real API server keeps: the launcher's tests are worth no more than this."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import os
import threading
from pathlib import Path

import pytest
import urllib3
from kubernetes import client
from kubernetes_cluster import Cluster, wait_for
from kubernetes_schema import DATA, KUBERAY, OPERATORS, published_crd

pytestmark = pytest.mark.k8s
RAYJOBS = ("ray.io", "v1")
APPLY = "application/apply-patch+yaml"


def body(name: str = "one", **spec) -> dict:
    pod = {"spec": {"containers": [{"name": "ray-head", "image": "example.org/ray:1"}]}}
    cluster = {"headGroupSpec": {"rayStartParams": {}, "template": pod}}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": name},
        # Managed elsewhere: an operator that is there leaves it alone.
        "spec": {
            "entrypoint": "true",
            "managedBy": "kueue.x-k8s.io/multikueue",
            "rayClusterSpec": cluster,
            **spec,
        },
    }


@pytest.fixture
def jobs(cluster, namespace):
    return Jobs(cluster.custom, namespace)


class Jobs:
    """RayJobs of one namespace."""

    def __init__(self, api: client.CustomObjectsApi, namespace: str) -> None:
        self.api, self.at = api, (*RAYJOBS, namespace, "rayjobs")

    def create(self, made: dict, **options) -> dict:
        return self.api.create_namespaced_custom_object(*self.at, made, **options)

    def get(self, name: str = "one") -> dict:
        return self.api.get_namespaced_custom_object(*self.at, name)

    def replace(self, made: dict) -> dict:
        return self.api.replace_namespaced_custom_object(*self.at, made["metadata"]["name"], made)

    def apply(self, made: dict, manager: str, **options) -> dict:
        name = made["metadata"]["name"]
        self.api.patch_namespaced_custom_object(
            *self.at, name, made, field_manager=manager, _content_type=APPLY, **options
        )
        return self.get(name)  # the client gives nothing back for what was created (201)


def refusal(call, *arguments, **options) -> dict:
    """The Status with which the server refuses."""
    with pytest.raises(client.ApiException) as caught:
        call(*arguments, **options)
    status = json.loads(caught.value.body)
    assert status["kind"] == "Status"
    assert status["code"] == caught.value.status
    return status


@pytest.mark.parametrize("group", OPERATORS)
def test_kept_definitions_are_those_that_their_makers_publish(group) -> None:
    lines = (DATA / OPERATORS[group] / "SHA256SUMS").read_text().splitlines()
    for line in lines:
        digest, name = line.split()
        text = json.dumps(published_crd(name.partition(".")[0], group), separators=(",", ":"), ensure_ascii=False)
        assert hashlib.sha256(text.encode()).hexdigest() == digest, name
        if group == "ray.io" and (folder := os.environ.get("UDAIR_KUBERAY_CRDS")):
            assert (Path(folder) / name).read_text() == text
    assert len(lines) > 1


def test_versions_grow_and_a_stale_replace_is_refused(jobs) -> None:
    first = jobs.create(body())
    second = jobs.replace({**first, "spec": {**first["spec"], "entrypoint": "false"}})

    assert int(second["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])
    assert (first["metadata"]["generation"], second["metadata"]["generation"]) == (1, 2)
    assert refusal(jobs.replace, first)["reason"] == "Conflict"
    assert refusal(jobs.create, body())["reason"] == "AlreadyExists"
    unversioned = copy.deepcopy(second)
    del unversioned["metadata"]["resourceVersion"]
    assert refusal(jobs.replace, unversioned)["code"] == 422


def test_status_and_spec_are_written_apart(jobs) -> None:
    made = jobs.create({**body(), "status": {"jobStatus": "RUNNING"}})
    assert "jobStatus" not in made.get("status", {})

    at = (*jobs.at, "one")
    patched = jobs.api.patch_namespaced_custom_object_status(
        *at, {"status": {"jobStatus": "RUNNING"}, "spec": {"entrypoint": "false"}}
    )
    replaced = jobs.replace({**patched, "status": {"jobStatus": "FAILED"}})

    assert (replaced["spec"]["entrypoint"], replaced["status"]["jobStatus"]) == ("true", "RUNNING")
    assert replaced["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"backoffLimit": "none"}, "backoffLimit"),
        ({"deletionStrategy": {"deletionRules": []}}, "deletionRules"),
        ({"preRunningDeadlineSeconds": 0}, "preRunningDeadlineSeconds"),
        ({"managedBy": "somebody"}, "managedBy"),
        (
            {
                "deletionStrategy": {
                    "deletionRules": [
                        {
                            "policy": "DeleteSelf",
                            "condition": {"jobStatus": "FAILED", "jobDeploymentStatus": "Failed"},
                        }
                    ]
                }
            },
            "deletionRules[0]",
        ),
        ({"rayClusterSpec": {"headGroupSpec": {"rayStartParams": {}}}}, "template"),
        ({"rayClusterSpec": {**body()["spec"]["rayClusterSpec"], "authOptions": {"mode": "maybe"}}}, "mode"),
    ],
)
def test_invalid_specs_are_refused(jobs, spec: dict, said: str) -> None:
    status = refusal(jobs.create, body(**spec))

    assert (status["code"], status["reason"]) == (422, "Invalid")
    assert said in status["message"]


def test_bad_names_and_labels_are_refused(jobs) -> None:
    assert refusal(jobs.create, body("Not_A_Name"))["code"] == 422
    labelled = body()
    labelled["metadata"]["labels"] = {"a": "has spaces"}
    assert refusal(jobs.create, labelled)["code"] == 422


def test_unknown_field_is_dropped_in_silence_unless_validation_is_strict(jobs) -> None:
    unknown = body(retryOnMondays=True)

    status = refusal(jobs.create, unknown, field_validation="Strict")
    assert status["code"] == 400
    assert "retryOnMondays" in status["message"]
    assert "retryOnMondays" not in jobs.create(unknown)["spec"]


def test_defaults_are_filled_in(jobs) -> None:
    made = jobs.create(body())

    assert (made["spec"]["backoffLimit"], made["spec"]["submissionMode"]) == (0, "K8sJobMode")


def test_dry_run_answers_and_keeps_nothing(jobs) -> None:
    made = jobs.create(body(), dry_run="All")
    assert made["spec"]["backoffLimit"] == 0
    with pytest.raises(client.ApiException, match="not found"):
        jobs.apply(body(), "us", dry_run="All")
    assert refusal(jobs.get)["reason"] == "NotFound"


# Server-side apply


@pytest.mark.parametrize("strict", [{}, {"field_validation": "Strict"}])
@pytest.mark.parametrize("spec", [{"retryOnMondays": True}, {"backoffLimit": "none"}])
def test_unknown_field_or_wrong_type_is_never_applied(jobs, spec: dict, strict: dict) -> None:
    """With 500 up to Kubernetes 1.36, and 400 once kubernetes/kubernetes#139255 is in."""
    status = refusal(jobs.apply, body(**spec), "us", **strict)

    assert status["code"] in (400, 500)
    assert next(iter(spec)) in status["message"]


def test_applied_field_of_another_manager_is_a_conflict_unless_forced(jobs) -> None:
    jobs.apply(body(), "us")

    status = refusal(jobs.apply, body(entrypoint="false"), "them")
    assert (status["code"], status["reason"]) == (409, "Conflict")
    (cause,) = status["details"]["causes"]
    assert cause["reason"] == "FieldManagerConflict"
    assert cause["field"] == ".spec.entrypoint"
    assert '"us"' in cause["message"]

    assert jobs.apply(body(entrypoint="false"), "them", force=True)["spec"]["entrypoint"] == "false"
    assert refusal(jobs.apply, body(), "us")["reason"] == "Conflict"  # it is theirs now


def test_field_that_is_no_longer_applied_goes_with_its_last_owner(jobs) -> None:
    jobs.apply(body(jobId="j-1", activeDeadlineSeconds=5), "us")
    jobs.apply(body(jobId="j-1"), "them")

    after = jobs.apply(body(), "us")
    assert after["spec"]["jobId"] == "j-1"
    assert "activeDeadlineSeconds" not in after["spec"]
    assert "jobId" not in jobs.apply(body(), "them")["spec"]


def test_updates_take_ownership_and_applies_respect_it(jobs) -> None:
    jobs.apply(body(suspend=True), "us")
    jobs.api.patch_namespaced_custom_object(*jobs.at, "one", {"spec": {"suspend": False}}, field_manager="kueue")

    status = refusal(jobs.apply, body(suspend=True), "us")
    assert '"kueue"' in status["message"]
    assert jobs.apply(body(), "us")["spec"]["suspend"] is False


def test_applying_the_same_again_is_no_new_version(jobs) -> None:
    first = jobs.apply(body(), "us")

    assert jobs.apply(body(), "us")["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


def test_lists_are_merged_by_their_keys(jobs) -> None:
    def with_env(**env: str) -> dict:
        made = body()
        container = made["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
        container["env"] = [{"name": name, "value": value} for name, value in env.items()]
        return made

    jobs.apply(with_env(A="1"), "us")
    both = jobs.apply(with_env(B="2"), "them")

    (container,) = both["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"]
    assert {one["name"]: one["value"] for one in container["env"]} == {"A": "1", "B": "2"}


# Watches


class Watched:
    """Events of a watch, read in a thread."""

    def __init__(self, jobs: Jobs, **options) -> None:
        self.events: list[tuple[str, str]] = []
        self.places: list[int] = []
        self._answer = jobs.api.list_namespaced_custom_object(
            *jobs.at, watch=True, timeout_seconds=20, allow_watch_bookmarks=True, _preload_content=False, **options
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with contextlib.suppress(urllib3.exceptions.HTTPError):  # the server went first
            for line in self._answer:
                self._note(json.loads(line))

    def _note(self, event: dict) -> None:
        one = event["object"]
        self.events.append((event["type"], (one.get("metadata") or {}).get("name") or one.get("reason", "")))
        if event["type"] == "BOOKMARK":
            self.places.append(int(one["metadata"]["resourceVersion"]))

    def saw(self, *events: tuple[str, str]) -> bool:
        return bool(wait_for(lambda: [one for one in self.events if one[0] != "BOOKMARK"] == list(events)))


def test_watch_tells_what_changes_in_order_and_to_whom(jobs) -> None:
    version = jobs.api.list_namespaced_custom_object(*jobs.at)["metadata"]["resourceVersion"]
    labelled = body("two")
    labelled["metadata"]["labels"] = {"ours": "yes"}
    watched = Watched(jobs, resource_version=version)
    ours = Watched(jobs, resource_version=version, label_selector="ours=yes")

    jobs.create(body())
    jobs.create(labelled)
    jobs.api.patch_namespaced_custom_object(*jobs.at, "two", {"metadata": {"labels": {"ours": "no"}}})
    jobs.api.delete_namespaced_custom_object(*jobs.at, "one")

    assert watched.saw(("ADDED", "one"), ("ADDED", "two"), ("MODIFIED", "two"), ("DELETED", "one")), watched.events
    assert ours.saw(("ADDED", "two"), ("DELETED", "two")), ours.events


def test_watch_can_go_on_from_any_place_it_saw(jobs) -> None:
    first = jobs.create(body())
    jobs.create(body("two"))

    watched = Watched(jobs, resource_version=first["metadata"]["resourceVersion"])

    assert watched.saw(("ADDED", "two")), watched.events


def test_place_that_is_too_old_is_gone(jobs, double) -> None:
    first = jobs.create(body())
    watched = Watched(jobs, resource_version=first["metadata"]["resourceVersion"])

    double.expire()

    assert watched.saw(("ERROR", "Expired"))
    late = {"watch": True, "resource_version": first["metadata"]["resourceVersion"]}
    assert refusal(jobs.api.list_namespaced_custom_object, *jobs.at, **late)["reason"] == "Expired"


def first_word(jobs: Jobs, version: str) -> str:
    """What a watch from there is told first."""
    try:
        watched = Watched(jobs, resource_version=version)
    except client.ApiException as error:
        return str(error.reason)
    wait_for(lambda: watched.events)
    return watched.events[0][1]


def test_place_from_long_ago_is_gone(jobs) -> None:
    assert first_word(jobs, "1") in ("Gone", "Expired")  # as an answer or as an event: real servers do both


def test_bookmarks_move_the_place_on(jobs, double, cluster, namespace) -> None:
    first = int(jobs.create(body())["metadata"]["resourceVersion"])
    watched = Watched(jobs, resource_version=str(first))
    cluster.core.create_namespaced_config_map(namespace, {"metadata": {"name": "other"}})

    assert wait_for(lambda: watched.places and watched.places[-1] > first)


# Deleting


def test_finalizer_holds_what_is_deleted(jobs) -> None:
    held = body()
    held["metadata"]["finalizers"] = ["example.org/held"]
    jobs.create(held)

    jobs.api.delete_namespaced_custom_object(*jobs.at, "one")
    assert "deletionTimestamp" in jobs.get()["metadata"]
    jobs.api.patch_namespaced_custom_object(*jobs.at, "one", {"metadata": {"finalizers": None}})

    assert refusal(jobs.get)["reason"] == "NotFound"


def test_deleting_another_object_of_that_name_is_refused(jobs) -> None:
    jobs.create(body())
    other = {"preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}}

    assert refusal(jobs.api.delete_namespaced_custom_object, *jobs.at, "one", body=other)["reason"] == "Conflict"


def test_what_it_owned_goes_too(jobs, double, operator) -> None:
    jobs.create(body(jobId="one"))
    operator.start("one", pods=False)
    jobs.api.delete_namespaced_custom_object(*jobs.at, "one")
    operator.reap()

    clusters = jobs.api.list_namespaced_custom_object(*RAYJOBS, operator.namespace, "rayclusters")["items"]
    assert clusters == []


def test_pod_that_asks_for_too_much_is_not_let_in(cluster, namespace) -> None:
    pod = {"metadata": {"name": "root"}, "spec": {"containers": [{"name": "it", "image": "example.org/it:1"}]}}

    status = refusal(cluster.core.create_namespaced_pod, namespace, pod)

    assert (status["code"], status["reason"]) == (403, "Forbidden")
    assert "violates PodSecurity" in status["message"]


def test_installed_definitions_are_served_and_uninstalled_ones_are_no_page(empty_double) -> None:
    api = Cluster(empty_double.kubeconfig, empty_double.folder, empty_double).custom

    with pytest.raises(client.ApiException) as caught:
        api.list_cluster_custom_object(*RAYJOBS, "rayjobs")
    assert (caught.value.status, caught.value.body) == (404, "404 page not found\n")
    for plural in KUBERAY:
        at = ("apiextensions.k8s.io", "v1", "customresourcedefinitions")
        api.create_cluster_custom_object(*at, published_crd(plural))
    assert api.list_cluster_custom_object(*RAYJOBS, "rayjobs")["items"] == []
