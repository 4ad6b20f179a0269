"""Settings are checked once, and say what is wrong with each."""

from __future__ import annotations

from pathlib import Path

import pytest

from udair_platform.errors import SettingsError
from udair_platform.settings import load_settings


def test_unset_paths_are_placed_under_home(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)

    assert settings.database_url == f"sqlite:///{tmp_path}/control.db"
    assert settings.store_uri == str(tmp_path / "store")
    assert settings.signing_key_file == tmp_path / "signing.key"


def test_environment_is_read_and_arguments_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UDAIR_HOME", str(tmp_path))
    monkeypatch.setenv("UDAIR_API_PORT", "9000")
    monkeypatch.setenv("UDAIR_STORE_URI", "s3://objects/udair")

    settings = load_settings(api_port=9001, launcher=None)

    assert (settings.home, settings.api_port, settings.store_uri) == (tmp_path, 9001, "s3://objects/udair")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("database_url", "postgres//db", "postgresql+psycopg://user@host/name"),
        ("database_url", "mysql://db/x", "sqlite:////absolute/file.db"),
        ("store_uri", "gs://bucket", "s3://bucket/prefix"),
        ("api_port", "70000", "a port, 0 to 65535"),
        ("launcher", "slurm", "local, ray or kuberay"),
        ("s3_endpoint_url", "127.0.0.1:5000", "http://host:port"),
        ("max_attempts", "0", "greater than or equal to 1"),
        ("default_tenant", "No Good", "match pattern"),
    ],
)
def test_bad_setting_is_named_with_its_value_and_what_was_expected(
    tmp_path: Path, name: str, value: str, expected: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(home=tmp_path, **{name: value})

    assert f"UDAIR_{name.upper()} has value {value!r}" in str(caught.value)
    assert expected in str(caught.value)


def test_password_in_a_bad_url_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(home=tmp_path, database_url="mysql://me:hunter2@host/db")

    assert "hunter2" not in str(caught.value)
