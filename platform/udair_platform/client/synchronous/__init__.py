"""The client for threads. A build writes its other files from `asynchronous` (ADR 15); git ignores them."""

from importlib.util import find_spec

if find_spec(f"{__name__}.client") is None:
    raise ImportError("The client for threads is not written in this checkout yet; run `make client`.")
