"""The client itself: where the platform is, and the ways into it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, TypeVar

from udair_platform.client import connection
from udair_platform.client.asynchronous.budget import AsyncTenantBudget
from udair_platform.client.asynchronous.domains import AsyncDomains
from udair_platform.client.asynchronous.jobs import AsyncJobs
from udair_platform.client.asynchronous.keys import AsyncKeys
from udair_platform.client.asynchronous.restoring import restore
from udair_platform.client.asynchronous.transport import AsyncTransport
from udair_platform.client.asynchronous.webhooks import AsyncWebhooks
from udair_platform.client.errors import ClientError
from udair_platform.client.pictures import Picture, Restored
from udair_platform.client.waiting import async_concurrently
from udair_platform.contract.attention import Concern
from udair_platform.contract.base_models import BaseModelInfo, PlatformInfo
from udair_platform.contract.events import Event
from udair_platform.contract.keys import LoginLink
from udair_platform.contract.receipts import ReceiptCheck
from udair_platform.contract.serving_history import HistoryCheck
from udair_platform.contract.usage import DomainUsage

Name = TypeVar("Name")


class AsyncClient:
    """A connection to one platform, as one key's bearer.

    Args:
        url: The control API.
        api_key: What says who you are; without `url` and `api_key` they are looked for: in `home`,
            in `profile`, in UDAIR_PROFILE, in UDAIR_URL and UDAIR_API_KEY, in the profile ``default``.
        home: A platform's home folder; its client.json is read.
        profile: Of ``~/.config/udair/config.toml``; `udair login` writes it.
        serve_url: The data plane; asked of the platform if None.
        timeout_s: Longest wait for one answer, seconds.

    Attributes:
        domains, jobs, keys, webhooks: What there is, each with its verbs.
        budget: Of the tenant, for a month.

    Raises:
        ClientError: It is nowhere said where the platform is.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        home: str | Path | None = None,
        profile: str | None = None,
        serve_url: str | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        found = connection.find(url, api_key, home=home, profile=profile)
        self._transport = AsyncTransport(found.url, found.api_key, timeout_s=timeout_s, serve_url=serve_url)
        self.url, self.origin = found.url, found.origin
        self.domains = AsyncDomains(self._transport)
        self.jobs = AsyncJobs(self._transport)
        self.keys = AsyncKeys(self._transport)
        self.webhooks = AsyncWebhooks(self._transport)
        self.budget = AsyncTenantBudget(self._transport)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def platform(self) -> PlatformInfo:
        """Version, data-plane URL, tenant and base model."""
        return PlatformInfo.model_validate(await self._transport.json("GET", "/v1/platform"))

    async def attention(self) -> list[Concern]:
        """What somebody should look at now, the most urgent first."""
        found = await self._transport.json("GET", "/v1/attention")
        return [Concern.model_validate(item) for item in found["concerns"]]

    async def login_link(self) -> LoginLink:
        """A link that logs a browser in to the console as this key: once, within 15 minutes."""
        return LoginLink.model_validate(await self._transport.json("POST", "/v1/loginLinks"))

    async def base_models(self) -> list[BaseModelInfo]:
        """Base models, the current one last."""
        page = await self._transport.json("GET", "/v1/baseModels")
        return [BaseModelInfo.model_validate(item) for item in page["base_models"]]

    async def usage(self) -> list[DomainUsage]:
        """Domains that have used anything, those that used most first: jobs of 30 days, images since the replicas began."""
        found = await self._transport.json("GET", "/v1/usage")
        return [DomainUsage.model_validate(item) for item in found["domains"]]

    async def verify_receipt(self, receipt: str) -> ReceiptCheck:
        """Whether the platform signed this receipt of a picture of yours, and what its version is now.

        Args:
            receipt: Its text: `Restored.receipt_text`, or the header ``X-Receipt``.

        Raises:
            NotFound: It is of another tenant's picture, or its domain is gone.
        """
        found = await self._transport.json("POST", "/v1/receipts:verify", body={"receipt": receipt.strip()})
        return ReceiptCheck.model_validate(found)

    async def verify_history(self, data: bytes, signature: str) -> HistoryCheck:
        """Whether the platform exported these very bytes; see `Domain.served_history`. Only their digest is sent.

        Raises:
            NotFound: The signature is of another tenant's export.
        """
        body = {"signature": signature.strip(), "sha256": hashlib.sha256(data).hexdigest()}
        found = await self._transport.json("POST", "/v1/servedHistory:verify", body=body)
        return HistoryCheck.model_validate(found)

    async def events(
        self, *, domain: str | None = None, noun: str | None = None, follow: bool = False
    ) -> AsyncIterator[Event]:
        """The audit log, oldest first; with `follow`, what happens from now on, for ever."""
        params = {key: value for key, value in {"domain": domain, "noun": noun}.items() if value}
        if not follow:
            async for item in self._transport.pages("/v1/events", "events", params=params):
                yield Event.model_validate(item)
            return
        async for item in self._transport.stream("/v1/events", params=params):
            yield Event.model_validate_json(item.data)

    async def restore(self, image: Picture, domain: str, *, timeout_s: float = 300.0, **options: Any) -> Restored:
        """Restore one image by what serves `domain` now.

        Args:
            image: Encoded bytes (PNG, JPEG, WebP, TIFF or BMP), a path, a PIL image, or an array,
                (H, W, 3) uint8 or float in [0, 1], RGB.
            options: Of `RestoreOptions`: format, quality, key, test_time, content_type.

        Raises:
            InvalidRequest: The data plane cannot read the image, or refuses its size.
            NotFound: There is no such domain.
            PlatformUnavailable: The data plane cannot answer now.
        """
        return await restore(self._transport, domain, image, timeout_s=timeout_s, **options)

    async def restore_many(
        self, images: Iterable[tuple[Name, Picture]], domain: str, *, at_once: int = 8, **options: Any
    ) -> AsyncIterator[tuple[Name, Restored | ClientError]]:
        """Restore images as they are taken from `images`, `at_once` at a time; answers come as they are ready.

        An image that is refused gives its error; the others go on.
        """

        async def one(item: tuple[Name, Picture]) -> tuple[Name, Restored | ClientError]:
            name, image = item
            try:
                return name, await self.restore(image, domain, **options)
            except ClientError as error:
                return name, error

        async for answer in async_concurrently(one, images, at_once):
            yield answer
