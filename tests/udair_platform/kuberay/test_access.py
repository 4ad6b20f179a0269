"""Who the launcher must be: its rules suffice, none can be spared, and what is missing is named."""

from __future__ import annotations

import secrets
from dataclasses import replace

import pytest
from kubernetes_attempt import ID, REQUEST
from kubernetes_cluster import wait_for

from udair_platform.errors import LauncherDown
from udair_platform.scheduler.launcher import LaunchRequest, LaunchState
from udair_platform.scheduler.launchers.kuberay.rules import LAUNCHER_RULES, WATCHED, Rule

pytestmark = pytest.mark.k8s
RULES = [(rule.group, rule.resource, rule.verbs) for rule in LAUNCHER_RULES]


def exercise(launcher, cluster, request: LaunchRequest, namespace: str) -> None:
    """Everything that the launcher ever asks of the server."""
    launcher.check(request.tenant)
    launcher.launch(request)
    if not cluster.operated:
        cluster.operator(namespace).start(ID)
    assert launcher.status(ID) is LaunchState.PENDING
    watches = (launcher._rayjobs, launcher._pods)
    assert wait_for(lambda: all(one.fresh and one._changes for one in watches), within_s=1.5), "a watch is not allowed"
    launcher.cause(ID)
    launcher.logs(ID)
    launcher.held()
    launcher.stop(ID)


def test_launcher_works_with_its_rules_and_asks_for_nothing_else(cluster, namespace, make_launcher) -> None:
    kubeconfig = cluster.account(namespace, RULES)
    if cluster.double:
        cluster.double.access.checked.clear()

    exercise(make_launcher(namespace, kube={"kubeconfig": kubeconfig}), cluster, REQUEST, namespace)

    if cluster.double:
        asked = {tuple(what) for who, *what in cluster.double.access.checked if who != "admin"}
        assert asked == {(group, resource, verb) for group, resource, verbs in RULES for verb in verbs}


def test_tenants_namespaces_need_the_watched_rules_everywhere_and_the_others_there(cluster, make_launcher) -> None:
    tenant = f"t{secrets.token_hex(4)}"
    namespace = cluster.namespace(f"udair-t-{tenant}")
    try:
        watched = [(rule.group, rule.resource, rule.verbs) for rule in WATCHED]
        kubeconfig = cluster.account(namespace, [one for one in RULES if one not in watched], everywhere=watched)
        launcher = make_launcher("udair", kube={"namespace_per_tenant": True, "kubeconfig": kubeconfig})

        exercise(launcher, cluster, replace(REQUEST, tenant=tenant), namespace)
        with pytest.raises(LauncherDown, match=r"cannot patch resource .* in the namespace \"udair-t-globex"):
            launcher.launch(LaunchRequest("j-2-1", "s3://b/s", None, "globex"))
    finally:
        cluster.clean()


@pytest.mark.parametrize("rule", LAUNCHER_RULES, ids=lambda rule: f"{rule.group or 'core'}/{rule.resource}")
def test_no_rule_can_be_spared_and_the_missing_one_is_named(cluster, namespace, make_launcher, rule: Rule) -> None:
    if rule.resource == "pods/log" and cluster.operated:
        pytest.skip("a real operator's heads may be no pods")
    for verb in rule.verbs:
        fewer = [(g, r, [v for v in verbs if (g, r, v) != (rule.group, rule.resource, verb)]) for g, r, verbs in RULES]
        kubeconfig = cluster.account(namespace, fewer)

        with pytest.raises((LauncherDown, AssertionError)) as caught:
            exercise(make_launcher(namespace, kube={"kubeconfig": kubeconfig}), cluster, REQUEST, namespace)

        if caught.type is LauncherDown:
            assert f"cannot {verb} resource" in str(caught.value), caught.value
        else:
            assert rule in WATCHED
            assert "watch" in str(caught.value)
        for job in cluster.rayjobs(namespace):
            cluster.custom.delete_namespaced_custom_object(
                "ray.io", "v1", namespace, "rayjobs", job["metadata"]["name"]
            )
        if not cluster.operated:
            cluster.operator(namespace).reap()
        assert wait_for(lambda: not cluster.rayjobs(namespace), within_s=60)


def test_token_that_is_no_good_is_a_launcher_that_is_down(cluster, namespace, make_launcher) -> None:
    launcher = make_launcher(namespace, kube={"kubeconfig": cluster.kubeconfig_with("f" * 32, "stranger")})

    with pytest.raises(LauncherDown, match="does not know us"):
        launcher.launch(REQUEST)


def test_promotions_never_reach_the_cluster() -> None:
    assert not any(rule.resource == "rayservices" for rule in LAUNCHER_RULES)
