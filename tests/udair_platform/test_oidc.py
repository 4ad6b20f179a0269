"""People by tokens of an OpenID provider: a real one as far as keys go, on a real socket."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from udair_platform.api.access import jwks
from udair_platform.api.access.jwks import PublishedKeys
from udair_platform.errors import IdentityDown, SettingsError, TokenInvalid
from udair_platform.keys import LEEWAY_S
from udair_platform.settings import load_settings

AUDIENCE = "udair"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class Provider:
    """Publishes its keys over HTTP, counts who asks, and is away when a test says so."""

    url: str = ""
    keys_url: str = ""
    away: bool = False
    asked: list[str] = field(default_factory=list)
    keys: dict[str, object] = field(default_factory=lambda: {"rsa-1": RSA_KEY, "ec-1": EC_KEY})

    @property
    def app(self) -> Starlette:
        return Starlette(
            routes=[Route("/.well-known/openid-configuration", self.configuration), Route("/keys", self.published)]
        )

    async def configuration(self, request: Request) -> Response:
        return self._answer(request, {"issuer": self.url, "jwks_uri": self.keys_url or f"{self.url}/keys"})

    async def published(self, request: Request) -> Response:
        kinds = {rsa.RSAPrivateKey: jwt.algorithms.RSAAlgorithm, ec.EllipticCurvePrivateKey: jwt.algorithms.ECAlgorithm}
        keys = []
        for kid, key in self.keys.items():
            kind = next(algorithm for type_, algorithm in kinds.items() if isinstance(key, type_))
            keys.append({**json.loads(kind.to_jwk(key.public_key())), "kid": kid, "use": "sig"})
        return self._answer(request, {"keys": keys})

    def _answer(self, request: Request, body: dict) -> Response:
        self.asked.append(request.url.path)
        return Response("out to lunch", 503) if self.away else JSONResponse(body)

    def token(self, *, key: object = RSA_KEY, alg: str = "RS256", kid: str | None = "rsa-1", **changes: object) -> str:
        now = time.time()
        claims = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "ann",
            "exp": now + 600,
            "iat": now,
            "tenant": "acme",
            "roles": ["viewer"],
            **changes,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(claims, key, algorithm=alg, headers={} if kid is None else {"kid": kid})


@pytest.fixture
def provider(serve: Callable[..., str]) -> Provider:
    provider = Provider()
    provider.url = serve(provider.app)
    return provider


@pytest.fixture
def plane(make_plane, provider: Provider):
    return make_plane(oidc_issuer=provider.url, oidc_audience=AUDIENCE)


def ask(plane, token: str, method: str = "GET", path: str = "/v1/domains", **request):
    return plane.client.request(method, path, headers={"Authorization": f"Bearer {token}"}, **request)


def refused(plane, token: str) -> tuple[int, str]:
    reply = ask(plane, token)
    assert token not in reply.text
    return reply.status_code, reply.json()["code"]


@pytest.mark.parametrize(("key", "alg", "kid"), [(RSA_KEY, "RS256", "rsa-1"), (EC_KEY, "ES256", "ec-1")])
def test_token_of_the_provider_is_good(plane, provider, key, alg: str, kid: str) -> None:
    assert ask(plane, provider.token(key=key, alg=alg, kid=kid)).status_code == 200
    assert ask(plane, provider.token(aud=["other", AUDIENCE])).status_code == 200


def test_keys_go_on_working_beside_tokens(plane) -> None:
    assert plane.client.get("/v1/domains").is_success
    assert refused(plane, "nonsense") == (401, "TOKEN_INVALID")


def test_role_says_what_a_person_may_do_and_events_name_them(plane, provider) -> None:
    body = {"name": "foggy-cams", "source_uri": "s3://acme-photos/cams"}
    assert ask(plane, provider.token(), "POST", json=body).status_code == 403
    assert ask(plane, provider.token(roles=["operator"]), "POST", json=body).status_code == 201

    events = plane.client.get("/v1/events", params={"domain": "foggy-cams"}).json()["events"]
    assert events[0]["actor"] == "user:ann"


def test_four_eyes_are_those_of_people(plane, provider, evidence) -> None:
    plane.domain(four_eyes=True)
    plane.launcher.evidence = evidence["INCONCLUSIVE"]
    ann = provider.token(roles=["operator", "approver"])
    job = ask(plane, ann, "POST", "/v1/domains/foggy-cams/jobs", json={}).json()
    plane.settle(job["id"])
    approve = ("POST", "/v1/domains/foggy-cams/versions/1:approve")

    assert ask(plane, provider.token(roles="admin"), *approve).json()["code"] == "FOUR_EYES"
    assert ask(plane, provider.token(sub="bob", roles=["approver"]), *approve).json()["state"] == "ACTIVE"


def unsigned(provider: Provider) -> str:
    _, claims, _ = provider.token().split(".")
    header = base64.urlsafe_b64encode(b'{"alg":"none","kid":"rsa-1"}').rstrip(b"=").decode()
    return f"{header}.{claims}."


def signed_with_the_public_key(provider: Provider) -> str:
    public = RSA_KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    _, claims, _ = provider.token().split(".")
    header = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"rsa-1","typ":"JWT"}').rstrip(b"=").decode()
    mac = hmac.new(public, f"{header}.{claims}".encode(), hashlib.sha256).digest()
    return f"{header}.{claims}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


@pytest.mark.parametrize(
    "forged",
    [
        unsigned,
        signed_with_the_public_key,
        lambda provider: provider.token(key=STRANGER),
        lambda provider: provider.token(key=STRANGER, kid="stranger"),
        lambda provider: provider.token(kid=None),
        lambda provider: provider.token(key=EC_KEY, alg="ES256", kid="rsa-1"),
        lambda provider: provider.token(aud="another-service"),
        lambda provider: provider.token(aud=None),
        lambda provider: provider.token(iss="https://elsewhere.example"),
        lambda provider: provider.token(iss=None),
        lambda provider: provider.token(exp=time.time() - LEEWAY_S - 60),
        lambda provider: provider.token(exp=None),
        lambda provider: provider.token(nbf=time.time() + LEEWAY_S + 60),
        lambda provider: provider.token(sub=None),
        lambda provider: provider.token(sub=""),
        lambda provider: provider.token(sub="x" * 121),
        lambda provider: provider.token(sub="ann\nuser:bob"),
        lambda provider: provider.token()[:-4] + "AAAA",
        lambda provider: provider.token(padding="x" * 20_000),
    ],
    ids=[
        "alg-none",
        "public-key-as-secret",
        "stranger-key",
        "unknown-kid",
        "no-kid",
        "key-of-another-kind",
        "wrong-audience",
        "no-audience",
        "wrong-issuer",
        "no-issuer",
        "expired",
        "no-expiry",
        "not-yet",
        "no-subject",
        "empty-subject",
        "long-subject",
        "subject-with-newline",
        "broken-signature",
        "huge",
    ],
)
def test_token_that_cannot_be_trusted_is_refused(plane, provider, forged: Callable[[Provider], str]) -> None:
    assert refused(plane, forged(provider)) == (401, "TOKEN_INVALID")


def test_clocks_may_differ_by_the_leeway(plane, provider) -> None:
    assert ask(plane, provider.token(exp=time.time() - LEEWAY_S / 2)).status_code == 200
    assert ask(plane, provider.token(nbf=time.time() + LEEWAY_S / 2)).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [{"tenant": "nobody"}, {"tenant": None}, {"tenant": 7}, {"roles": []}, {"roles": ["king"]}, {"roles": None}],
)
def test_good_token_without_a_tenant_or_role_here_is_forbidden(plane, provider, changes: dict) -> None:
    assert refused(plane, provider.token(**changes)) == (403, "FORBIDDEN")


def test_claims_and_roles_are_called_as_the_provider_calls_them(make_plane, provider) -> None:
    plane = make_plane(
        oidc_issuer=provider.url,
        oidc_audience=AUDIENCE,
        oidc_tenant_claim="https://udair.example/tenant",
        oidc_roles_claim="realm_access.roles",
        oidc_roles="image-people=operator, bosses=admin",
    )
    extra = {"tenant": None, "https://udair.example/tenant": "globex"}

    def roles(*names: str):
        return ask(plane, provider.token(**extra, realm_access={"roles": [*names]}), path="/v1/apiKeys").status_code

    assert (roles("bosses"), roles("image-people", "x"), roles("admin")) == (200, 403, 403)


def test_other_tenants_are_out_of_reach(plane, provider) -> None:
    plane.domain()
    assert ask(plane, provider.token(tenant="globex", roles=["admin"])).json()["domains"] == []


def test_provider_that_is_away_is_said_and_its_known_keys_go_on_working(plane, provider) -> None:
    provider.away = True
    assert refused(plane, provider.token()) == (503, "IDENTITY_UNAVAILABLE")
    assert plane.client.get("/v1/domains").is_success  # keys need no provider


def test_known_keys_outlive_the_provider_for_a_while(plane, provider) -> None:
    assert ask(plane, provider.token()).status_code == 200
    provider.away = True
    assert ask(plane, provider.token(sub="bob")).status_code == 200


# --- how often the provider is asked


class Seconds:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def published(provider: Provider) -> tuple[PublishedKeys, Seconds]:
    clock = Seconds()
    return PublishedKeys(provider.url, f"{provider.url}/keys", clock=clock), clock


def test_keys_are_kept_and_made_up_names_do_not_make_us_ask(provider, published) -> None:
    keys, _ = published
    for _ in range(3):
        keys.get("rsa-1")
    for number in range(5):
        with pytest.raises(TokenInvalid):
            keys.get(f"made-up-{number}")
    assert provider.asked == ["/keys"]


def test_new_key_of_the_provider_is_found(provider, published) -> None:
    keys, clock = published
    keys.get("rsa-1")
    provider.keys["rsa-2"] = STRANGER
    clock.now += jwks.PAUSE_S
    assert keys.get("rsa-2").key_id == "rsa-2"


def test_withdrawn_key_ends_and_an_absent_provider_does_not_prolong_it_for_ever(provider, published) -> None:
    keys, clock = published
    keys.get("rsa-1")
    del provider.keys["rsa-1"]
    clock.now += jwks.FRESH_S
    with pytest.raises(TokenInvalid):
        keys.get("rsa-1")

    provider.away = True
    clock.now += jwks.FRESH_S
    assert keys.get("ec-1")
    clock.now += jwks.STALE_S
    with pytest.raises(IdentityDown):
        keys.get("ec-1")


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b'{"keys": []}', b'{"keys": [{"kty": "what"}]}', b"\xff"])
def test_provider_that_answers_nonsense_is_as_good_as_away(serve, answer: bytes) -> None:
    async def nonsense(request: Request) -> Response:
        return Response(answer, media_type="application/json")

    url = serve(Starlette(routes=[Route("/{path:path}", nonsense)]))
    for keys in (PublishedKeys(url), PublishedKeys(url, f"{url}/keys")):
        with pytest.raises(IdentityDown):
            keys.get("rsa-1")


def test_nobody_at_the_providers_address_is_away() -> None:
    with pytest.raises(IdentityDown):
        PublishedKeys("http://127.0.0.1:9").get("rsa-1")


def test_issuer_that_calls_itself_otherwise_is_not_believed(serve, provider) -> None:
    elsewhere = serve(provider.app)
    with pytest.raises(IdentityDown):
        PublishedKeys(elsewhere).get("rsa-1")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/keys", "/keys", "data:application/json,{}"])
def test_keys_are_read_from_the_web_only(provider, url: str) -> None:
    provider.keys_url = url
    with pytest.raises(IdentityDown):
        PublishedKeys(provider.url).get("rsa-1")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"oidc_issuer": "https://id.example"}, "UDAIR_OIDC_AUDIENCE"),
        ({"oidc_issuer": "http://id.example", "oidc_audience": "x"}, "UDAIR_OIDC_ISSUER"),
        ({"oidc_jwks_url": "ftp://id.example/keys"}, "UDAIR_OIDC_JWKS_URL"),
        ({"oidc_roles": "staff=king"}, "UDAIR_OIDC_ROLES"),
        ({"oidc_roles": "staff"}, "UDAIR_OIDC_ROLES"),
    ],
)
def test_wrong_setting_is_named(tmp_path, settings: dict, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        load_settings(home=tmp_path, **settings)


def test_settings_are_read_from_the_environment(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("UDAIR_OIDC_ISSUER", "https://id.example/")
    monkeypatch.setenv("UDAIR_OIDC_AUDIENCE", "udair")
    monkeypatch.setenv("UDAIR_OIDC_ROLES", "staff=viewer,bosses=admin")
    settings = load_settings(home=tmp_path)

    assert settings.oidc_issuer == "https://id.example/"
    assert settings.oidc_roles == {"staff": "viewer", "bosses": "admin"}
