"""Where the SDK finds a platform: never the key of one with the address of another."""

from __future__ import annotations

import json

import pytest

from udair_platform.client import ClientError
from udair_platform.client import connection as where


@pytest.fixture(autouse=True)
def config(tmp_path, monkeypatch):
    for name in ("UDAIR_URL", "UDAIR_API_KEY", "UDAIR_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UDAIR_CONFIG", str(tmp_path / "udair" / "config.toml"))
    return tmp_path / "udair" / "config.toml"


def test_nothing_said_is_said(config) -> None:
    with pytest.raises(ClientError, match="udair up") as caught:
        where.find()
    assert str(config) in str(caught.value)


def test_a_profile_is_written_read_replaced_and_removed(config) -> None:
    where.write_profile("default", "http://one", 'ak_"quoted"\\')
    where.write_profile("harbour", "http://two/", "ak_2")
    assert config.stat().st_mode & 0o777 == 0o600
    assert (where.find().url, where.find().api_key) == ("http://one", 'ak_"quoted"\\')
    assert where.find(profile="harbour").url == "http://two"
    where.write_profile("harbour", "http://three", "ak_3")
    assert where.find(profile="harbour").api_key == "ak_3"
    where.remove_profile("harbour")
    with pytest.raises(ClientError, match="there is: default"):
        where.find(profile="harbour")


def test_the_order_is_home_profile_environment_default(config, tmp_path, monkeypatch) -> None:
    where.write_profile("default", "http://default", "ak_default")
    where.write_profile("harbour", "http://harbour", "ak_harbour")
    home = tmp_path / "home"
    home.mkdir()
    (home / "client.json").write_text(json.dumps({"url": "http://home", "api_key": "ak_home"}))
    assert where.find().url == "http://default"
    monkeypatch.setenv("UDAIR_URL", "http://environment")
    with pytest.raises(ClientError, match="UDAIR_API_KEY is not set"):
        where.find()  # never with the key of the default profile
    monkeypatch.setenv("UDAIR_API_KEY", "ak_environment")
    assert where.find().url == "http://environment"
    monkeypatch.setenv("UDAIR_PROFILE", "harbour")
    assert where.find().url == "http://harbour"
    assert where.find(home=home).url == "http://home"
    assert where.find("http://given", "ak_given").origin == "arguments"


def test_a_platform_in_this_folder_comes_before_the_default_profile(config, tmp_path, monkeypatch) -> None:
    where.write_profile("default", "http://default", "ak_default")
    (tmp_path / ".udair").mkdir()
    (tmp_path / ".udair" / "client.json").write_text(json.dumps({"url": "http://here", "api_key": "ak_here"}))
    assert where.find().url == "http://default"
    monkeypatch.chdir(tmp_path)
    assert (where.find().url, where.find().api_key) == ("http://here", "ak_here")
    assert where.find(profile="default").url == "http://default"
    monkeypatch.setenv("UDAIR_URL", "http://environment")
    monkeypatch.setenv("UDAIR_API_KEY", "ak_environment")
    assert where.find().url == "http://environment"


@pytest.mark.parametrize("text", ["[profiles", "profiles = 3", "[profiles]\nharbour = 3"])
def test_a_file_that_is_damaged_is_said(config, text: str) -> None:
    config.parent.mkdir()
    config.write_text(text)
    with pytest.raises(ClientError, match=r"config\.toml"):
        where.find()


@pytest.mark.parametrize("name", ["", "a b", "a.b", "[x]", "-x"])
def test_a_name_that_cannot_be_one_is_refused(name: str) -> None:
    with pytest.raises(ClientError, match="no profile's name"):
        where.write_profile(name, "http://one", "ak_1")


def test_a_key_is_not_in_the_text_of_a_connection() -> None:
    assert "ak_secret" not in repr(where.Connection("http://one", "ak_secret", "arguments"))
