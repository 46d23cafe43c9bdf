"""Files that somebody names are opened only if they are files, and read only as far as was agreed."""

import os
import socket

import pytest

from kit import Case, Clip, History, Ledger, Plan
from kit.errors import HistoryError, InputError
from kit.eventlog import LogWriter, read_log
from kit.eventlog.reading import recordings
from kit.files import read_bytes, read_text, regular_file
from kit.relay import Relay
from kit.reporting import bundle
from kit.reporting.bundling import source_of
from kit.trials.writer import Writer


def test_a_file_is_opened_and_read(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfhi")

    with regular_file(path) as file:
        assert file.read() == b"\xef\xbb\xbfhi"
    assert read_text(str(path), 5) == "hi"


def fifo(path):
    os.mkfifo(path)


def bound(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize(
    ("made_by", "words"),
    [
        (fifo, "is a pipe"),
        (bound, "No such device"),
        (os.mkdir, "is a folder"),
        (lambda path: os.symlink("/dev/zero", path), "is a device"),
        (lambda path: os.symlink(path, path), "symbolic link"),
        (lambda path: None, "No such file"),
    ],
)
def test_whatever_is_no_file_is_refused_at_once(tmp_path, monkeypatch, made_by, words):
    monkeypatch.chdir(tmp_path)  # the path of a socket has to be short
    made_by("x")

    with pytest.raises(HistoryError, match=words):
        read_bytes("x", 100, error=HistoryError)


@pytest.mark.parametrize("name", ["a" * 5_000, "a\0b", "~nobody-of-this-name/x", "", None, 7.5])
def test_a_name_that_no_file_can_have_is_refused(name):
    with pytest.raises(InputError, match="cannot read"):
        regular_file(name)


def test_a_file_that_is_too_long_is_not_read(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")

    with pytest.raises(InputError, match="no more than"):
        regular_file(path, 4)


def test_a_file_without_a_size_is_read_only_so_far():
    with pytest.raises(InputError, match="more than"):
        read_bytes("/proc/self/maps", 100)


def test_text_that_is_not_utf8_says_where(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"ab\xff")

    with pytest.raises(InputError, match=r"not UTF-8 text \(byte 2\)"):
        read_text(path, 100)


@pytest.mark.parametrize("name", ["a" * 5_000, "a\0b", "~nobody-of-this-name/x"])
@pytest.mark.parametrize(
    "use",
    [
        lambda path: Ledger(path).counts(),
        lambda path: Writer(path, Plan("1a", repeats=1)),
        read_log,
        recordings,
        source_of,
        History.load,
        History().user("x").save,
        Clip.silence(100).save,
        Case.from_chat,
        LogWriter,
        lambda path: Relay("openai", log=path),
    ],
)
def test_every_reader_and_writer_refuses_a_name_that_no_file_can_have(use, name):
    with pytest.raises(InputError):
        use(f"{name}.wav")


@pytest.mark.parametrize("made_by", [fifo, bound, os.mkdir])
@pytest.mark.parametrize(
    "use",
    [
        lambda path: Writer(path, Plan("1a", repeats=1)).__enter__(),
        lambda path: bundle("x.jsonl", path, overwrite=True),
        lambda path: History().user("x").save(path),
        lambda path: Clip.silence(100).save(path),
        LogWriter,
    ],
)
def test_no_writer_takes_the_place_of_a_device(tmp_path, monkeypatch, use, made_by):
    monkeypatch.chdir(tmp_path)
    made_by("x.wav")
    before = os.lstat("x.wav")

    with pytest.raises(InputError):
        use("x.wav")
    assert os.lstat("x.wav") == before


def test_a_file_that_cannot_be_read_from_is_refused_in_a_sentence():
    with pytest.raises(InputError, match="Input/output error"):
        regular_file("/proc/self/mem")
