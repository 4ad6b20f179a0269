"""`udair up`: a platform until Ctrl-C or SIGTERM, both of which are heard from the first second on."""

from __future__ import annotations

import signal
import sys
import threading

from udair_platform.client.connection import CLIENT_FILE
from udair_platform.errors import PlatformError, SettingsError
from udair_platform.local.options import LocalOptions
from udair_platform.local.platform import LocalPlatform

_INTERRUPTED = 130


def up(options: LocalOptions) -> int:
    """Run a platform until a signal; returns the exit status."""
    stop = threading.Event()
    first = not (options.home / CLIENT_FILE).exists()
    platform = LocalPlatform(options, say=lambda text: print(f"starting {text}", file=sys.stderr, flush=True))

    def asked(*_: object) -> None:
        again = stop.is_set()
        stop.set()
        if platform.starting and not again:
            raise KeyboardInterrupt  # whatever it waits for; once it stops, nothing disturbs it

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, asked)
    try:
        with platform:
            print(f"api      {platform.url}")
            print(f"console  {platform.login_link()}")
            print("         (the link logs a browser in, once, within 15 minutes; `udair login-link` makes another)")
            print(f"restore  {platform.serve_url}")
            print(f"metrics  {platform.metrics_url or 'of the data plane: none without Ray'}")
            print(f"home     {platform.home}   (CLI: --home {options.home})")
            if first:
                print(f"key      {platform.api_key}   (shown once; the CLI reads it from {CLIENT_FILE})")
            print("Ctrl-C stops the platform; the next start goes on where it was.", flush=True)
            platform.watch(stop)
    except KeyboardInterrupt:
        print("stopped before it had started; no process is left behind", file=sys.stderr)
        return _INTERRUPTED
    except PlatformError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2 if isinstance(error, SettingsError) else 1
    return 0
