"""Budgets where people and programs meet them: attention, metrics, clients, command line, console."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
from command_line import udair, words
from console_visitor import log_in, open_console, read
from console_visitor import words as shown
from spending import got, put, served

from udair_platform.client import Conflict, Forbidden, InvalidRequest
from udair_platform.contract.budgets import Budget
from udair_platform.services import budgets, metering


def test_what_needs_attention_says_it_to_keys_of_the_whole_tenant(plane) -> None:
    plane.domain()
    put(plane, images=10)
    served(plane, 8)
    (row,) = plane.client.get("/v1/attention").json()["concerns"]
    assert (row["kind"], row["link"], row["domain"]) == ("budget", "/console/usage", None)
    assert "nearly spent: 8 of 10 images" in row["message"]
    served(plane, 10)
    (row,) = plane.client.get("/v1/attention").json()["concerns"]
    assert "is spent: 10 of 10 images. No new job starts until 2026-12-01 00:00 UTC" in row["message"]
    narrow = plane.token("domain:read", only=("foggy-cams",))
    auth = {"Authorization": f"Bearer {narrow}"}
    assert plane.client.get("/v1/attention", headers=auth).json()["concerns"] == []
    assert plane.client.get("/v1/budget", headers=auth).status_code == 403


def test_a_webhook_takes_what_is_told_of_budgets(plane) -> None:
    body = {"url": "https://hooks.example.com/", "kinds": ["budget.*"]}
    hook = plane.client.post("/v1/webhooks", json=body).json()
    plane.domain()
    put(plane, images=10)
    served(plane, 8)
    with plane.database.read() as state:
        webhook = state.webhooks.get("acme", hook["id"])
        taken = [event.kind for event in state.events.page("acme", after=webhook.cursor) if webhook.takes(event.kind)]
    assert taken == ["budget.set", "budget.warned"]


def test_metrics_count_limits_and_name_no_tenant(make_plane) -> None:
    plane = make_plane(metrics_public=True)
    plane.domain()
    put(plane, images=10)
    served(plane, 10)
    text = plane.client.get("/metrics", headers={"Authorization": ""}).text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("udair_budget"))
    assert lines['udair_budget_limits{item="images",state="spent"}'] == "1.0"
    assert Counter(lines.values()) == {"1.0": 1, "0.0": 8}
    assert "acme" not in text


def test_both_clients_and_the_operator_set_what_the_api_does(live) -> None:
    client = live.client()
    found = client.budget.set(images=5, warn_share=0.5)
    assert (found.images, found.warn_share, found.state) == (5, 0.5, "open")
    assert client.budget.get() == found
    with pytest.raises(InvalidRequest, match="UDAIR_PRICE"):
        client.budget.set(money=3)
    with pytest.raises(Forbidden):
        live.client(live.plane.token("job:run")).budget.clear()
    live.plane.domain()
    with live.plane.change("platform") as tx:
        budgets.change(tx, "acme", Budget(images=3))
        report = {"replica": "r", "time": 0.0, "tenants": {"acme": {"images": 3, "forward_s": 0}}}
        metering.add(tx, report | {"time": tx.now.timestamp()})
    with pytest.raises(Conflict, match="spent its budget"):
        client.domains.get("foggy-cams").adapt()
    assert client.budget.clear().images is None
    assert client.domains.get("foggy-cams").adapt().id


def test_the_command_line_shows_sets_and_clears(live) -> None:
    _, err = udair(live, "budget", "show")
    assert "no limit is set" in err
    out, _ = udair(live, "budget", "set", "--images", "1000", "--job-hours", "2.5")
    assert ["images", "0", "of", "1000"] in words(out)
    out, _ = udair(live, "budget", "set", "--images", "0", "--warn-at", "0.5", "-o", "json")
    now = json.loads(out)
    assert (now["images"], now["job_s"], now["warn_share"]) == (None, 9000.0, 0.5)
    _, err = udair(live, "budget", "set", code=2)
    assert "nothing to set" in err
    udair(live, "budget", "set", "--images", "3")
    with live.plane.change() as tx:
        tenants = {"acme": {"images": 3, "forward_s": 0.0}}
        metering.add(tx, {"replica": "r", "time": tx.now.timestamp(), "tenants": tenants})
    out, err = udair(live, "budget", "show")
    assert ["images", "3", "of", "3,", "spent"] in words(out)
    assert "no new job starts until 2026-12-01" in err
    live.plane.domain()
    _, err = udair(live, "run", "foggy-cams", "--detach", code=1)
    assert "spent its budget" in err
    assert "udair budget" in err
    out, _ = udair(live, "status", code=1)
    assert "budget" in out
    out, _ = udair(live, "budget", "clear", "-o", "json")
    assert json.loads(out)["state"] == "open"


def test_the_operator_sets_any_tenants_budget(tmp_path) -> None:
    home = ("--home", str(tmp_path / "home"))
    udair(None, "admin", "tenant", "create", "globex", *home)
    out, _ = udair(None, "admin", "tenant", "budget", "globex", "--images", "7", *home, "-o", "json")
    assert json.loads(out)["images"] == 7
    out, _ = udair(None, "admin", "tenant", "budget", "globex", *home)
    assert ["images", "0", "of", "7"] in words(out)
    out, _ = udair(None, "admin", "tenant", "list", *home, "-o", "json")
    assert {tenant["id"]: tenant["budget"]["images"] for tenant in json.loads(out)}["globex"] == 7
    udair(None, "admin", "tenant", "limit", "globex", "--max-domains", "3", *home)


def test_the_console_shows_it_and_admins_set_it(make_plane) -> None:
    plane = open_console(make_plane(price_per_job_hour=2.0, price_currency="EUR"))
    plane.domain()
    page = read(plane, "/usage")
    assert "images restored 0 none" in shown(page)
    token = re.search(r'name="form_token" value="([0-9a-f]{64})"', page)[1]
    form = {"form_token": token, "images": "10", "job_hours": "1.5", "money": "", "warn_percent": "50"}
    assert plane.client.post("/console/budget", data=form, follow_redirects=False).status_code == 303
    served(plane, 10)
    text = shown(read(plane, "/usage"))
    assert "images restored 10 10 spent" in text
    assert "job time 0.0 s 1.5 h open" in text
    assert "No new job starts until 2026-12-01 00:00 UTC" in text
    assert "10 of 10 images" in shown(read(plane, "/"))
    plane.client.headers["Authorization"] = f"Bearer {plane.admin_token}"
    assert (got(plane)["job_s"], got(plane)["money"], got(plane)["warn_share"]) == (5400, None, 0.5)
    for wrong in ({"images": "ten"}, {"images": "-3"}, {"warn_percent": "0"}, {"form_token": "0" * 64}):
        answer = plane.client.post("/console/budget", data=form | wrong)
        assert answer.status_code == (403 if "form_token" in wrong else 422), answer.text
    log_in(plane, plane.token("domain:read"))
    text = read(plane, "/usage")
    assert "images restored 10 10 spent" in shown(text)
    assert "/console/budget" not in text
    assert plane.client.post("/console/budget", data=form).status_code == 403
    log_in(plane, plane.token("domain:read", only=("foggy-cams",)))
    assert "images restored 10 10" not in shown(read(plane, "/usage"))
