"""A file is there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from udair_platform.files import beside, write_whole


def test_file_takes_the_place_of_another_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "client.json"
    path.write_text("old")
    path.chmod(0o644)

    write_whole(path, b"new", mode=0o600, sync=True)

    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o600)
    assert os.listdir(tmp_path) == ["client.json"]


def test_file_that_may_not_be_replaced_stays(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    write_whole(path, b"first", replace=False)

    with pytest.raises(FileExistsError):
        write_whole(path, b"second", replace=False)

    assert path.read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["signing.key"]


def test_write_that_fails_halfway_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    path.write_text("old")

    with pytest.raises(NotADirectoryError), beside(path) as part:
        (part / "what is written next").write_text("")

    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["control.db"]
