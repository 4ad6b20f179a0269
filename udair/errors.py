"""Every error the library raises on purpose.

    UdairError
    ├── ConfigError        a setting is out of range
    ├── ShapeError         a tensor has the wrong axes
    ├── ImageError         bytes that are no usable image        (.reason, a closed set)
    ├── DoorBusy           an image was not decoded, through no fault of its own
    ├── BundleError        a base model on disk is incomplete or altered
    ├── AdapterError       an adapter is damaged, or made for another base model
    └── AdaptationError    a target set cannot be adapted to     (.reason, a closed set)

A message says what happened, the value, what was expected and what to do next.
"""

from __future__ import annotations


class UdairError(Exception):
    """Base of every error that the library raises on purpose."""


class ConfigError(UdairError, ValueError):
    """A setting is out of range; raised when the setting is made, not when it is used."""


class ShapeError(UdairError, ValueError):
    """A tensor has the wrong axes.

    Args:
        name: What the tensor is called where it was refused.
        actual: Its shape.
        expected: The shape that was expected, in words.
    """

    def __init__(self, name: str, actual: tuple[int, ...], expected: str) -> None:
        super().__init__(f"{name} has shape {tuple(actual)}; expected {expected}.")
        self.actual = tuple(actual)
        self.expected = expected


class ImageError(UdairError, ValueError):
    """Bytes that are no usable image.

    Attributes:
        reason: One of `udair.data.images.REASONS`, e.g. ``TRUNCATED`` or ``TOO_MANY_PIXELS``.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class DoorBusy(UdairError):
    """An image was not decoded, through no fault of its own: there was no room or no processor for it."""


class BundleError(UdairError):
    """A base model on disk is incomplete or altered."""


class AdapterError(UdairError):
    """An adapter is damaged, or was made for another base model."""


class AdaptationError(UdairError):
    """A target set cannot be adapted to.

    Attributes:
        reason: ``TOO_FEW_IMAGES``, ``NAN_LOSS`` or ``DIVERGED``.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class OutOfTime(UdairError):
    """A budget of time ran out; the message says how far the work came."""
