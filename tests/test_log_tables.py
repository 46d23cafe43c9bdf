"""Logs in the tables and plots that ledgers have."""

import pytest
from test_read_log import talk, write

from kit import cases, connect, plots, tables
from kit.errors import InputError
from kit.eventlog import read_log


@pytest.fixture
def logs(tmp_path):
    import json

    for n in range(6):
        events = talk(f"sess_{n}", f"resp_{n}a", text=n < 2) + talk(f"sess_{n}", f"resp_{n}b")[1:]
        write(tmp_path / f"{n}.jsonl", *map(json.dumps, events))
    return tmp_path


def test_a_folder_of_logs_is_counted_like_a_ledger(logs):
    table = tables.modality_df(tables.log_df(logs), by=["model"])

    [row] = table.to_dict("records")
    assert (row["first_turns"], row["text"], row["audio"]) == (6, 2, 4)
    assert row["drift_low"] < 2 / 6 < row["drift_high"]
    assert row["turns_text"] == 2 and row["turns"] == 12


def test_what_logs_tell_can_be_plotted_and_says_that_its_origin_is_unknown(logs):
    ax = plots.modality(tables.modality_df(tables.log_df(logs), by=["model"]))

    words = " ".join(text.get_text() for text in [*ax.texts, *ax.figure.texts])
    assert "33 %  (2 of 6)" in words and "origin unknown" in words


def test_a_log_that_was_read_and_its_file_give_the_same_frame(logs):
    path = logs / "0.jsonl"

    one, other = tables.log_df(read_log(path)), tables.log_df([path])

    assert one.drop(columns="settings").equals(other.drop(columns="settings"))
    assert list(one["text"]) == ["Hello.", ""] and list(one["modality"]) == ["text", "audio"]


def test_something_else_is_refused():
    with pytest.raises(InputError, match="takes logs, files and folders"):
        tables.log_df(42)


@pytest.mark.parametrize("by", [["model"], []])
def test_a_log_without_a_reply_makes_an_empty_table(tmp_path, by):
    (tmp_path / "app.log").write_text("nothing of interest here\n")

    table = tables.modality_df(tables.log_df(tmp_path / "app.log"), by=by)

    assert not len(table) and not len(tables.brief_df(table))
    plots.modality(table)


async def test_logs_are_counted_by_how_a_conversation_began(tmp_path):
    for case in (cases.one_a, cases.one_b):
        async with connect(log=tmp_path / f"{case.name}.jsonl", quiet=True) as session:
            await session.seed(case.history)
            await session.respond()

    table = tables.modality_df(tables.log_df(tmp_path), by="beginning")

    assert dict(zip(table["beginning"], table["text"], strict=True)) == {"began fresh": 0, "history restored": 1}
    assert "**history restored**: text in 1 of 1 sessions" in tables.in_words(table)
