"""An API server that is away, forgets, is overloaded, or knows no KubeRay."""

from __future__ import annotations

import pytest
from kubernetes_attempt import ID, REQUEST, reach
from kubernetes_cluster import Cluster, wait_for
from kubernetes_status import StatusError

from udair_platform.errors import LauncherDown
from udair_platform.scheduler.launcher import LaunchState

pytestmark = pytest.mark.k8s


def seen_status(launcher) -> dict | None:
    """Of the watched copy."""
    return next((job.get("status") for job in launcher._rayjobs.all_with("udair/attempt", ID)), None)


def test_cluster_without_kuberay_names_the_version_wanted(empty_double, make_launcher, tmp_path) -> None:
    Cluster(empty_double.kubeconfig, tmp_path, empty_double).namespace("udair")
    launcher = make_launcher("udair", kube={"kubeconfig": empty_double.kubeconfig})

    for ask in (lambda: launcher.launch(REQUEST), lambda: launcher.check("acme"), lambda: launcher.status(ID)):
        with pytest.raises(LauncherDown, match=r"install KubeRay 1\.7\.0"):
            ask()


def test_api_server_that_is_away_is_down_not_unknown_and_is_found_again(launcher, operator, double) -> None:
    launcher.launch(REQUEST)
    reach(launcher, LaunchState.PENDING)
    assert wait_for(lambda: launcher._rayjobs.fresh)

    with double.down():
        assert wait_for(lambda: not launcher._rayjobs.fresh and not launcher._pods.fresh)
        for ask in (launcher.status, launcher.stop, launcher.cause, launcher.logs):
            with pytest.raises(LauncherDown, match="does not answer"):
                ask(ID)
        with pytest.raises(LauncherDown, match="does not answer"):
            launcher.launch(REQUEST)
    operator.run(ID)

    reach(launcher, LaunchState.RUNNING)
    assert wait_for(lambda: launcher._rayjobs.fresh and double.watches >= 2)


def test_server_that_did_not_answer_is_left_alone_for_a_moment(launcher, double) -> None:
    """One wait for all jobs of a tick, not one for each."""
    launcher.launch(REQUEST)
    launcher._api.away_s = 60.0
    with double.down(), pytest.raises(LauncherDown):
        launcher.stop(ID)

    with pytest.raises(LauncherDown, match="does not answer"):
        launcher.stop(ID)
    launcher._api._away = (0.0, "")  # the moment is over
    launcher.stop(ID)


def test_watch_that_has_expired_lists_anew_and_misses_nothing(launcher, operator, double) -> None:
    launcher.launch(REQUEST)
    reach(launcher, LaunchState.PENDING)
    assert wait_for(lambda: launcher._rayjobs.fresh)
    lists = launcher._rayjobs.lists

    double.expire()
    operator.run(ID)

    assert wait_for(lambda: launcher._rayjobs.lists > lists)
    assert wait_for(lambda: seen_status(launcher))
    assert launcher.status(ID) is LaunchState.RUNNING


def test_watch_goes_on_where_it_was_thanks_to_bookmarks(launcher, operator, double, cluster, namespace) -> None:
    """The place moves on while nothing of ours changes, so that the end of a watch needs no new list."""
    launcher.launch(REQUEST)
    reach(launcher, LaunchState.PENDING)
    assert wait_for(lambda: launcher._rayjobs.fresh)
    lists = launcher._rayjobs.lists
    for number in range(3):
        cluster.core.create_namespaced_config_map(namespace, {"metadata": {"name": f"other-{number}"}})
    wait_for(lambda: False, within_s=2.6)  # a watch is two seconds long here
    operator.run(ID)

    assert wait_for(lambda: seen_status(launcher))
    assert launcher._rayjobs.lists == lists


def test_server_that_is_overloaded_is_asked_again_later(launcher, double) -> None:
    for code in (429, 500, 503):
        double.refusals.append(StatusError(code, "Busy", "the server is busy"))
        with pytest.raises(LauncherDown, match=f"cannot answer now \\({code}\\)"):
            launcher.launch(REQUEST)
    launcher.launch(REQUEST)


def test_closed_launcher_leaves_no_thread_behind(make_launcher, namespace) -> None:
    launcher = make_launcher(namespace)
    launcher.launch(REQUEST)
    launcher.status(ID)
    assert wait_for(lambda: launcher._rayjobs.fresh and launcher._pods.fresh)
    threads = [launcher._rayjobs._thread, launcher._pods._thread]
    assert all(thread.is_alive() for thread in threads)

    launcher.close()

    assert not any(thread.is_alive() for thread in threads)
