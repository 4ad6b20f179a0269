"""Values that know where they came from."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import PrivateAttr

from udair_platform.client.asynchronous.transport import AsyncTransport
from udair_platform.contract.value import Value

B = TypeVar("B", bound="AsyncBound")


class AsyncBound(Value):
    """A value with verbs."""

    _transport: AsyncTransport = PrivateAttr()

    @classmethod
    def bind(cls: type[B], transport: AsyncTransport, data: Any) -> B:
        """The value in `data`, bound to `transport`."""
        value = cls.model_validate(data)
        value._transport = transport
        return value
