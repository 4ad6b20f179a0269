"""References and an aim for tone are settings of a domain: checked, sent to its jobs, and what a version was made for."""

from __future__ import annotations

import re

import pytest
from command_line import udair, words

from udair_jobs.specs import AdaptSpec
from udair_jobs.storage import open_storage
from udair_platform.client import InvalidRequest
from udair_platform.console.app import create_console

D = "/v1/domains/foggy-cams"
CLEAR, ROLE = "s3://acme-photos/clear days", "arn:aws:iam::123456789012:role/reader"


def create(plane, **body):
    given = {"name": "foggy-cams", "source_uri": "s3://acme-photos/cams", **body}
    return plane.client.post("/v1/domains", json=given)


def spec_of(plane) -> AdaptSpec:
    """What the last job was launched with."""
    folder, _, name = plane.launcher.requests[-1].spec_uri.rpartition("/")
    return AdaptSpec.model_validate_json(open_storage(folder).get(name))


def adapted(plane) -> AdaptSpec:
    """Run a job of the domain to its end; what it was launched with."""
    plane.settle(plane.client.post(f"{D}/jobs", json={}).json()["id"])
    return spec_of(plane)


def test_a_job_is_told_the_references_and_the_aim_of_its_domain(make_plane, s3):
    plane = make_plane(s3_endpoint_url=s3.endpoint_url)
    made = create(plane, tone="restore", tone_aim=0.45, reference_uri=CLEAR).json()
    assert (made["tone_aim"], made["reference_uri"]) == (0.45, CLEAR)
    spec = adapted(plane)
    assert (spec.tone, spec.tone_aim, spec.reference_uri) == ("restore", 0.45, CLEAR)
    assert spec.reference_endpoint_url == s3.endpoint_url
    for path in (f"{D}/jobs/{spec.job_id}", f"{D}/versions/1"):
        shown = plane.client.get(path).json()
        assert (shown["tone_aim"], shown["reference_uri"]) == (0.45, CLEAR), path


def test_a_domain_has_neither_unless_somebody_says_so(plane):
    made = create(plane).json()
    assert (made["tone_aim"], made["reference_uri"]) == (None, None)
    spec = adapted(plane)
    assert (spec.tone_aim, spec.reference_uri, spec.reference_endpoint_url) == (None, None, None)


@pytest.mark.parametrize(
    ("body", "pointer", "said"),
    [
        ({"reference_uri": "gs://acme/clear"}, "/reference_uri", "unknown scheme"),
        ({"reference_uri": "s3://A/clear"}, "/reference_uri", "no valid bucket"),
        ({"reference_uri": "s3://acme/../x"}, "/reference_uri", "holds '..'"),
        ({"reference_uri": "file:///photos"}, "/reference_uri", "is a local folder"),
        ({"tone": "restore", "tone_aim": 0.01}, "/tone_aim", "greater than or equal to 0.05"),
        ({"tone": "restore", "tone_aim": 0.96}, "/tone_aim", "less than or equal to 0.95"),
        ({"tone": "keep", "tone_aim": 0.45}, "/tone_aim", "where tone is 'restore' only"),
        ({"tone_aim": 0.45}, "/tone_aim", "where tone is 'restore' only"),
    ],
)
def test_what_cannot_be_is_refused_when_the_domain_is_made_and_when_it_is_changed(plane, body, pointer, said):
    refused = create(plane, name="bad-cams", **body)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, pointer)
    assert said in refused.text
    create(plane)
    refused = plane.client.patch(D, json=body)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, pointer)
    assert said in refused.text


def test_references_are_no_way_into_the_platforms_own_store_or_past_a_role(make_plane, s3):
    store = f"s3://{s3.bucket()}/platform"
    plane = make_plane(require_source_role=True, store_uri=store, store_endpoint_url=s3.endpoint_url)
    inside = create(plane, source_role_arn=ROLE, reference_uri=f"{store}/t/globex")
    assert (inside.status_code, inside.json()["errors"][0]["pointer"]) == (422, "/reference_uri")
    assert create(plane, source_uri=None).status_code == 201, "images that are uploaded need no role"
    unread = plane.client.patch(D, json={"reference_uri": CLEAR})
    assert (unread.status_code, unread.json()["errors"][0]["pointer"]) == (422, "/source_role_arn")


def test_other_references_put_versions_out_of_use_until_the_domain_is_adapted_again(plane):
    create(plane)
    adapted(plane)
    assert plane.client.post(f"{D}/versions/1:promote").status_code == 200

    changed = plane.client.patch(D, json={"reference_uri": CLEAR}).json()

    why = f"version 1 was made with references none, and the domain's are {CLEAR}"
    assert (changed["reference_uri"], changed["out_of_use"]) == (CLEAR, why)
    assert plane.client.post(f"{D}/versions/1:promote").status_code == 409
    assert adapted(plane).champion_uri is not None, "what was learned is a start"
    assert plane.client.post(f"{D}/versions/2:promote").status_code == 200
    assert plane.client.get(D).json()["out_of_use"] == ""

    back = plane.client.patch(D, json={"reference_uri": None}).json()
    assert back["reference_uri"] is None
    assert "made with references s3://" in back["out_of_use"]
    assert plane.client.post(f"{D}/versions/1:promote").status_code == 200, "it was made for just this"


def test_another_aim_puts_versions_out_of_use_too_and_is_no_start(plane):
    create(plane, tone="restore", tone_aim=0.4)
    adapted(plane)
    plane.client.post(f"{D}/versions/1:promote")
    assert adapted(plane).champion_uri is not None
    changed = plane.client.patch(D, json={"tone_aim": 0.5}).json()
    assert changed["out_of_use"] == "version 1 was made for tone_aim 0.4, and the domain's is 0.5"
    assert adapted(plane).champion_uri is None
    kept = plane.client.patch(D, json={"tone": "keep"})
    assert (kept.status_code, kept.json()["errors"][0]["pointer"]) == (422, "/tone_aim")
    assert plane.client.patch(D, json={"tone": "keep", "tone_aim": None}).json()["tone_aim"] is None


def test_what_a_change_does_not_name_stays(plane):
    create(plane, tone="restore", tone_aim=0.4, reference_uri=CLEAR)
    changed = plane.client.patch(D, json={"description": "harbour"}).json()
    assert (changed["tone"], changed["tone_aim"], changed["reference_uri"]) == ("restore", 0.4, CLEAR)
    event = plane.client.get("/v1/events", params={"noun": "domain"}).json()["events"][-1]
    assert (event["data"]["tone_aim"], event["data"]["reference_uri"]) == (0.4, CLEAR)


def test_access_to_the_references_is_checked_like_that_to_the_images(make_plane, s3):
    plane, bucket = make_plane(s3_endpoint_url=s3.endpoint_url), s3.bucket()
    create(plane, source_uri=f"s3://{bucket}/cams", reference_uri=f"s3://{bucket}/clear")
    s3.put(bucket, "cams/a.png", b"\x89PNG....")
    found = plane.client.post(f"{D}:checkAccess").json()
    assert (found["ok"], found["steps"][-1]["name"]) == (False, "references: list")
    s3.put(bucket, "clear/a.png", b"\x89PNG....")
    found = plane.client.post(f"{D}:checkAccess").json()
    assert found["ok"] is True
    assert [step["name"] for step in found["steps"]] == ["list", "read", "references: list", "references: read"]


def test_the_command_line_sets_shows_and_takes_away(live):
    made = ("domain", "create", "foggy-cams", "--source", "s3://acme-photos/cams", "--reference", CLEAR)
    out, _ = udair(live, *made, "--tone", "restore", "--tone-aim", "0.45")
    assert ["tone", "aim", "0.45"] in words(out)
    assert ["references", *CLEAR.split()] in words(out)
    _, err = udair(live, "run", "-d", "foggy-cams", "--detach")
    assert ["references", *CLEAR.split()] in words(err)
    assert ["tone", "aim", "0.45"] in words(err)
    out, err = udair(live, "domain", "update", "foggy-cams", "--tone-aim", "0", "--reference", "")
    assert not {"aim", "references"} & {word for line in words(out) for word in line}
    assert f"versions made for tone aim 0.45, references {CLEAR} are out of use; next: udair run" in err
    _, err = udair(live, "domain", "update", "foggy-cams", "--tone", "keep", "--tone-aim", "0.4", code=1)
    assert "where tone is 'restore' only" in err


def test_the_console_has_a_form_for_them_and_shows_them(plane):
    app = plane.client.app
    app.mount("/console", create_console(app.state.context))
    create(plane)
    plane.client.headers.pop("Authorization")
    plane.client.follow_redirects = False
    plane.client.post("/console/login", data={"key": plane.admin_token})
    base = "/console/domains/foggy-cams"
    token = re.search(r'name="form_token" value="([0-9a-f]{64})"', plane.client.get(base).text).group(1)
    form = {"form_token": token, "tone": "restore", "tone_aim": "0.45", "reference_uri": CLEAR}
    assert plane.client.post(f"{base}/intent", data=form).status_code == 303
    page = plane.client.get(base).text
    assert f"good pictures<small>{CLEAR}</small>" in page
    assert "to a brightness of 0.45" in page
    assert f'value="{CLEAR}"' in page, "the form holds what is set: sending it again changes nothing"
    for wrong, said in (({"tone_aim": "bright"}, "expected a number"), ({"tone": "keep"}, "is &#39;restore&#39; only")):
        refused = plane.client.post(f"{base}/intent", data=form | wrong)
        assert (refused.status_code, said in refused.text) == (422, True), refused.text
    assert plane.client.post(f"{base}/intent", data=form | {"form_token": "0" * 64}).status_code == 403
    emptied = form | {"tone_aim": "", "reference_uri": " "}
    assert plane.client.post(f"{base}/intent", data=emptied).status_code == 303
    with plane.database.read() as state:
        domain = state.domains.get("acme", "foggy-cams")
    assert (domain.tone, domain.tone_aim, domain.reference_uri) == ("restore", None, None)
    plane.client.cookies.clear()
    plane.client.post("/console/login", data={"key": plane.token("domain:read")})
    assert f"{base}/intent" not in plane.client.get(base).text


def test_the_sdk_sets_changes_and_takes_away(live):
    made = live.client().domains.create(
        "foggy-cams", "s3://acme-photos/cams", tone="restore", tone_aim=0.45, reference_uri=CLEAR
    )
    assert (made.tone_aim, made.reference_uri) == (0.45, CLEAR)
    changed = made.change(tone_aim=0.3)
    assert (changed.tone_aim, changed.reference_uri) == (0.3, CLEAR)
    gone = made.change(tone_aim=0, reference_uri="")
    assert (gone.tone_aim, gone.reference_uri, gone.tone) == (None, None, "restore")
    with pytest.raises(InvalidRequest, match="restore"):
        made.change(tone="keep", tone_aim=0.3)
