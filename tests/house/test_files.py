"""A program writes a file completely or leaves it as it was."""

import os

import pytest

from tools.files import write_whole


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("content", ["neu: ä\n", "neu: ä\n".encode()], ids=["text", "bytes"])
def test_a_file_is_written_whole_and_alone(tmp_path, content):
    write_whole(tmp_path / "file", content)
    assert (tmp_path / "file").read_bytes() == "neu: ä\n".encode()
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_alone(tmp_path, monkeypatch, step):
    (tmp_path / "file").write_text("old")

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_reader_of_the_old_file_keeps_it(tmp_path):
    """The new file replaces the old one at once, and nothing is written into the open file."""
    (tmp_path / "file").write_text("old and long")
    with open(tmp_path / "file") as reader:
        write_whole(tmp_path / "file", "new")
        assert reader.read() == "old and long"
    assert (tmp_path / "file").read_text() == "new"


def test_a_link_stays_and_the_file_keeps_its_permissions(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "file").chmod(0o750)
    (tmp_path / "link").symlink_to("file")
    write_whole(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"
    assert (tmp_path / "file").stat().st_mode & 0o7777 == 0o750
