"""Values that know where they came from."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import PrivateAttr

from udair_platform.client.asynchronous.transport import AsyncTransport
from udair_platform.client.models import Model

B = TypeVar("B", bound="AsyncBound")


class AsyncBound(Model):
    """A value with verbs."""

    _transport: AsyncTransport = PrivateAttr()

    @classmethod
    def of(cls: type[B], transport: AsyncTransport, data: Any) -> B:
        """The value in `data`, bound to `transport`."""
        value = cls.model_validate(data)
        value._transport = transport
        return value
