"""What Prometheus is told, and who may ask."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from udair_platform.scheduler.reconciler import LEASE


def figures(plane, **headers: str) -> dict[tuple, float]:
    reply = plane.client.get("/metrics", headers=headers)
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"].startswith("text/plain")
    families = text_string_to_metric_families(reply.text)
    return {(s.name, *sorted(s.labels.values())): s.value for family in families for s in family.samples}


def operated(make_plane, **settings):
    return make_plane(default_tenant="acme", **settings)


def test_requests_are_counted_by_route_method_and_status(make_plane) -> None:
    plane = operated(make_plane)
    plane.domain()
    for path in ("/v1/domains/foggy-cams", "/v1/domains/foggy-cams", "/v1/domains/nobody", "/v1/no/such", "/%2e%2e/x"):
        plane.client.get(path)
    plane.client.request("BREW", "/healthz")

    told = figures(plane)

    name = "udair_api_requests_total"
    assert told[name, "/v1/domains/{domain}", "200", "GET"] == 2
    assert told[name, "/v1/domains/{domain}", "404", "GET"] == 1
    assert told[name, "404", "GET", "unknown"] == 2
    assert told[name, "/healthz", "405", "other"] == 1
    assert told["udair_api_request_seconds_count", "/v1/domains/{domain}", "GET"] == 3
    assert not any("foggy" in part for key in told for part in key)


def test_jobs_and_events_are_those_of_the_database(make_plane) -> None:
    plane = operated(make_plane)
    domain = plane.domain()
    plane.version(domain)
    plane.submit(domain)
    plane.clock.forward(120)

    told = figures(plane)

    assert told["udair_jobs", "SUCCEEDED"] == told["udair_jobs", "QUEUED"] == 1
    assert told["udair_jobs", "FAILED"] == 0
    assert told["udair_oldest_unfinished_job_seconds",] == 120
    with plane.database.read() as state:
        assert told["udair_events_total",] == len(state.events.page("acme")) + len(state.events.page("globex"))


def test_verdicts_are_counted_over_all_tenants_and_domains(make_plane) -> None:
    plane = operated(make_plane)
    assert [figures(plane)["udair_gate_verdicts_total", v] for v in ("PASSED", "FAILED", "INCONCLUSIVE", "WAIVED")] == [
        0
    ] * 4
    plane.version(plane.domain())
    plane.version(plane.domain("other-cams"))

    with plane.database.read() as state:
        verdicts = [version.verdict for version in state.versions.every()]
    told = figures(plane)

    assert len(verdicts) == 2
    assert {name[1]: count for name, count in told.items() if name[0] == "udair_gate_verdicts_total" and count} == {
        verdict: verdicts.count(verdict) for verdict in verdicts
    }


def test_a_silent_reconciler_is_told_by_its_lease(make_plane) -> None:
    plane = operated(make_plane)
    assert figures(plane)["udair_reconciler_silent_seconds",] == 0
    with plane.database.write() as state:
        state.leases.acquire(LEASE, "one", now=plane.clock(), ttl_s=15)
    plane.clock.forward(10)
    assert figures(plane)["udair_reconciler_silent_seconds",] == 0
    plane.clock.forward(65)
    assert figures(plane)["udair_reconciler_silent_seconds",] == 60


def test_applications_do_not_share_their_figures(make_plane) -> None:
    one, other = operated(make_plane), operated(make_plane)
    one.client.get("/v1/domains")
    assert not any("/v1/domains" in key for key in figures(other))


def test_figures_of_the_platform_are_for_its_operator(make_plane) -> None:
    plane = operated(make_plane)

    def status(token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"} if token else {"Authorization": ""}
        return plane.client.get("/metrics", headers=headers).status_code

    assert status(plane.token("metrics:read")) == 200
    assert status("") == 401
    assert status(plane.token("domain:read")) == 403
    assert status(plane.token("admin", only=("foggy-cams",))) == 403
    assert status(plane.token("admin", tenant="globex")) == 403


def test_figures_can_be_made_public(make_plane) -> None:
    assert figures(operated(make_plane, metrics_public=True), Authorization="")
