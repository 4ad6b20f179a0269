"""Where the platform is and with which key: from arguments, a home folder, a profile or the environment."""

from __future__ import annotations

import json
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from udair_platform.client.errors import ClientError
from udair_platform.files import write_whole

CLIENT_FILE = "client.json"
DEFAULT_PROFILE = "default"
DEFAULT_HOME = ".udair"
_PROFILE = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")


@dataclass(frozen=True, repr=False)
class Connection:
    """A platform and a key for it, both from one place: the key of one platform is not sent to another.

    Attributes:
        url: The control API, e.g. ``http://127.0.0.1:8080``.
        api_key: ``ak_…`` or a token of the OpenID provider.
        origin: Where both were found, for people.
    """

    url: str
    api_key: str
    origin: str

    def __repr__(self) -> str:
        return f"Connection({self.url!r}, from {self.origin})"


def find(
    url: str | None = None, api_key: str | None = None, *, home: str | Path | None = None, profile: str | None = None
) -> Connection:
    """The connection: `home` or `profile` where one is given, else UDAIR_PROFILE, else UDAIR_URL and
    UDAIR_API_KEY, else the platform that `udair up` started in this folder (``.udair``), else the profile ``default``.
    `url` and `api_key` replace what is found.

    Raises:
        ClientError: It is nowhere said where the platform is.
    """
    found, origin, missing = _look(home, profile)
    if url or api_key:
        origin = "arguments" if url and api_key else f"arguments and {origin}"
    url, api_key = url or found.get("url"), api_key or found.get("api_key")
    if not url or not api_key:
        raise ClientError(
            f"It is not known where the platform is: {missing}. "
            "Start one with `udair up`, or name one with `udair login URL`."
        )
    return Connection(url.rstrip("/"), api_key, origin)


def store_of(home: str | Path | None = None) -> tuple[str, str]:
    """Store and tenant of the platform that `udair up` started in `home`, or in this folder; empty: not known."""
    found = _of_home(Path(home or DEFAULT_HOME) / CLIENT_FILE)
    return str(found.get("store_uri", "")), str(found.get("tenant", ""))


def s3_endpoint_of(home: str | Path | None = None) -> str:
    """The S3 endpoint of the platform that `udair up` started in `home`, or in this folder; empty: it is not known."""
    path = Path(home or DEFAULT_HOME) / CLIENT_FILE
    return str(_of_home(path).get("s3_endpoint_url", ""))


def _look(home: str | Path | None, profile: str | None) -> tuple[dict[str, Any], str, str]:
    if home is not None:
        path = Path(home) / CLIENT_FILE
        return _of_home(path), str(path), f"{path} does not exist"
    environment = {"url": os.environ.get("UDAIR_URL"), "api_key": os.environ.get("UDAIR_API_KEY")}
    name = profile or os.environ.get("UDAIR_PROFILE")
    if name is None and (environment["url"] or environment["api_key"]):
        return environment, "UDAIR_URL and UDAIR_API_KEY", "one of UDAIR_URL and UDAIR_API_KEY is not set"
    here = Path(DEFAULT_HOME) / CLIENT_FILE
    if name is None and here.exists():
        return _of_home(here), str(here), f"{here} says neither"
    known = read_profiles()
    chosen = known.get(name or DEFAULT_PROFILE)
    if name is not None and chosen is None:
        there = ", ".join(sorted(known)) or "none"
        raise ClientError(
            f"There is no profile {name!r} in {config_file()}; there is: {there}. `udair login URL --as NAME`."
        )
    missing = f"UDAIR_URL and UDAIR_API_KEY are not set, there is no {here}, and {config_file()} has no profile {DEFAULT_PROFILE!r}"
    return chosen or {}, f"profile {name or DEFAULT_PROFILE!r} in {config_file()}", missing


def _of_home(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ClientError(f"{path} cannot be read: {error}. `udair up` writes it again.") from None
    return found


def config_file() -> Path:
    """The file of profiles: UDAIR_CONFIG, or udair/config.toml where the desktop keeps configuration."""
    if named := os.environ.get("UDAIR_CONFIG"):
        return Path(named)
    folder = os.environ.get("XDG_CONFIG_HOME")
    return (Path(folder) if folder else Path.home() / ".config") / "udair" / "config.toml"


def read_profiles() -> dict[str, dict[str, str]]:
    """Profiles by name, each with ``url`` and ``api_key``; none if there is no file.

    Raises:
        ClientError: The file is no such file.
    """
    path = config_file()
    try:
        profiles = tomllib.loads(path.read_text()).get("profiles", {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ClientError(f"{path} cannot be read: {error}. Mend it, or remove it and `udair login` again.") from None
    if not isinstance(profiles, dict) or not all(isinstance(one, dict) for one in profiles.values()):
        raise ClientError(f"{path} is no file of profiles; expected [profiles.NAME] with url and api_key.")
    return profiles


def write_profile(name: str, url: str, api_key: str) -> Path:
    """Keep a profile, in place of one of that name; the file is readable by its owner only.

    Raises:
        ClientError: The name cannot be one, or the file cannot be written.
    """
    if not _PROFILE.match(name):
        raise ClientError(f"{name!r} is no profile's name; expected letters, digits, '-' and '_'.")
    return _write({**read_profiles(), name: {"url": url, "api_key": api_key}})


def remove_profile(name: str) -> Path:
    """Forget a profile. Raises ClientError if there is none."""
    profiles = read_profiles()
    if name not in profiles:
        raise ClientError(f"There is no profile {name!r} in {config_file()}.")
    return _write({key: value for key, value in profiles.items() if key != name})


def _write(profiles: dict[str, dict[str, str]]) -> Path:
    path = config_file()
    # A JSON string is a TOML string.
    blocks = [
        f"[profiles.{name}]\n" + "".join(f"{key} = {json.dumps(str(value))}\n" for key, value in one.items())
        for name, one in sorted(profiles.items())
    ]
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, "\n".join(blocks).encode(), mode=0o600)
    except OSError as error:
        raise ClientError(f"{path} cannot be written: {error.strerror}.") from None
    return path
