"""The event table: what it says to the page, and what the page does with it in real Chromium."""

import json
import time

import pytest

from kit import connect
from kit.errors import InputError
from kit.eventlog import read_log
from kit.widgets import EventTable

HOSTILE = "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 1'>\" onmouseover=\"window.pwned=1 \u202egnp.exe"


class Page:
    """What a front end would be told."""

    def __init__(self, table):
        self.table, self.told, self.buffers = table, [], []
        table.send = self.take

    def take(self, content, buffers=None):
        self.told.append(content)
        self.buffers.append(buffers)

    def ask(self, **message):
        self.told.clear()
        self.buffers.clear()
        self.table._handle_custom_msg(message, [])
        return self.told


@pytest.fixture
async def log(tmp_path):
    async with connect(log=tmp_path / "x.jsonl", audio="keep", drift="never", quiet=True) as session:
        await session.ask("Tell me a joke.")
        await session.ask("Another one.")
    return tmp_path / "x.jsonl"


async def test_a_row_says_when_who_what_and_of_which_response(log):
    table = EventTable(log)
    rows = table.rows()

    assert rows[0][1:3] == [0, "session.created"] and rows[1][1:3] == [1, "conversation.item.create"]
    assert rows[1][3] == "user input_text: Tell me a joke."
    assert [row[5] for row in rows if row[2] == "response.done"] == [0, 1]
    assert sum(row[4] for row in rows) == sum(r.n_audio_bytes for r in read_log(log).responses)


async def test_the_page_gets_the_rows_when_it_is_ready_and_an_event_when_it_is_opened(log):
    page = Page(EventTable(log))

    told = [message for message in page.ask(kind="here") if message["kind"] == "rows"]
    n = next(i for i, row in enumerate(told[0]["rows"]) if row[2] == "response.done")
    [opened] = page.ask(kind="open", n=n)
    [sound] = page.ask(kind="hear", n=n)

    assert json.loads(opened["text"])["response"]["status"] == "completed" and opened["sound"] is True
    assert sound["kind"] == "sound" and page.buffers[0][0][:4] == b"RIFF"


@pytest.mark.parametrize(
    "message",
    [{}, {"kind": "open"}, {"kind": "open", "n": -1}, {"kind": "open", "n": 10**9}, {"kind": "hear", "n": "0"}],
)
async def test_a_message_that_makes_no_sense_is_answered_with_nothing(log, message):
    assert Page(EventTable(log)).ask(**message) == []


async def test_a_live_sessions_events_are_added_as_they_come():
    async with connect(quiet=True) as session:
        page = Page(EventTable(session))
        await session.ask("Tell me a joke.")
    await page.table._task

    rows = [row for told in page.told if told["kind"] == "rows" for row in told["rows"]]
    assert [row[2] for row in rows] == [event.wire_type for event in session.events]
    assert page.told[-1]["responses"][0][4] == "completed" and page.told[-1]["origin"] == "stand-in: simulated"


async def test_a_megabyte_in_an_event_is_cut_and_says_so(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(
        json.dumps({"type": "response.output_text.delta", "delta": "x" * 1_000_000, "more": list(range(5_000))}) + "\n"
    )

    table = EventTable(path)

    assert len(table.opened(0)) < 20_000 and "(996,000 more characters)" in table.opened(0)
    assert len(table.rows()[0][3]) <= 200


async def test_bidirectional_overrides_are_shown_as_code_points(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"type": "response.output_text.delta", "delta": HOSTILE}) + "\n")

    table = EventTable(path)

    assert "\u202e" not in table.opened(0) + table.rows()[0][3] and "‹U+202E›" in table.opened(0)


async def test_an_export_shows_the_first_rows(log):
    html = EventTable(log).static_html()

    assert "response.done" in html and "stand-in: simulated" in html


def test_what_has_no_events_is_refused():
    with pytest.raises(InputError, match="takes a session, a log or a file"):
        EventTable(42)


# ------------------------------------------------------------------------------------------------------------ Chromium

browser = pytest.importorskip("browser", reason="playwright is not installed")


def write_big_log(path):
    """Ten thousand events: talk, and in the midst of it what a hostile server might send."""
    place = {"response_id": "resp_1", "item_id": "item_1", "output_index": 0, "content_index": 0}
    events = [{"type": "session.created", "session": {"id": "sess_1", "model": HOSTILE, "instructions": HOSTILE}}]
    events.append({"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}})
    for n in range(5_000):
        events.append(
            {"type": "response.output_text.delta", **place, "delta": f"{n} {HOSTILE if n % 50 == 0 else 'word'} "}
        )
        events.append({"type": HOSTILE if n % 500 == 0 else "rate_limits.updated", "rate_limits": []})
    events.append({"type": "error", "error": {"type": HOSTILE, "code": HOSTILE, "message": HOSTILE}})
    done = {"id": "resp_1", "status": "completed", "output": []}
    events.append({"type": "response.done", "response": done})
    lines = (json.dumps({"at_ms": 10 * n, "event": event}) for n, event in enumerate(events))
    path.write_text("\n".join(lines) + "\n")
    return [event for event in events if event["type"] != HOSTILE]


def notebook(path, *cells):
    code = [
        {"cell_type": "code", "id": f"c{n}", "metadata": {}, "execution_count": None, "outputs": [], "source": cell}
        for n, cell in enumerate(cells)
    ]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    path.write_text(json.dumps({"cells": code, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}))


@pytest.mark.browser
@pytest.mark.skipif(browser.CHROMIUM is None, reason="Chromium is not installed")
def test_ten_thousand_events_in_chromium(tmp_path):
    root = tmp_path / "notebooks"
    root.mkdir()
    events = write_big_log(root / "big.jsonl")
    notebook(
        root / "a.ipynb",
        "from kit import connect\nfrom kit.widgets import EventTable\n"
        "session = await connect(drift='never', quiet=True)\nawait session.ask('Tell me a joke.')",
        "EventTable(session)",
        "await session.ask('Another one.');",
        "big = EventTable('big.jsonl')\nbig",
        "from kit.eventlog import read_log\nread_log('big.jsonl')",
        "read_log('big.jsonl').session().events",
    )
    (tmp_path / "home").mkdir()
    with browser.jupyter_lab(root, tmp_path / "home") as lab, browser.chromium(height=1000) as page:
        browser.open_notebook(page, lab, "a.ipynb")
        assert browser.run_all(page) == []

        live, big = page.locator(".kit-ev").nth(0), page.locator(".kit-ev").nth(1)
        live.locator(".kit-ev-count", has_text="live").wait_for()
        live.scroll_into_view_if_needed()
        live.locator("select[aria-label='response']").select_option(index=2)
        assert live.locator(".kit-ev-list .kit-ev-row", has_text="response.done").count() == 1
        live.locator(".kit-ev-list .kit-ev-row", has_text="response.done").click()
        live.locator(".kit-ev-hear").click()
        page.wait_for_function(
            "() => document.querySelector('.kit-ev-detail audio')?.currentTime > 0.2", timeout=20_000
        )
        browser.shoot(page, "event-table-live", "body")

        big.scroll_into_view_if_needed()
        big.locator(".kit-ev-count", has_text=f"{len(events):,} events").wait_for()
        rows = big.locator(".kit-ev-list .kit-ev-row")
        assert rows.count() < 60
        listing = big.locator(".kit-ev-list")
        began = time.monotonic()
        for n in range(20):
            listing.evaluate("(l, n) => { l.scrollTop = n * l.scrollHeight / 20; }", n)
            page.wait_for_function(
                "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"
            )
        listing.evaluate("l => { l.scrollTop = l.scrollHeight; }")
        rows.filter(has_text="response.done").wait_for()
        assert time.monotonic() - began < 10
        big.locator("select[aria-label='type of event']").select_option(label="errors")
        rows.filter(has_text="error").click()
        big.locator("pre", has_text="<script>window.pwned = 1</script>").wait_for()
        browser.shoot(page, "event-table-hostile", "body")
        big.locator("input[type=search]").fill("4999 word")
        big.locator("select[aria-label='type of event']").select_option(label="every type")
        assert rows.count() == 1
        big.locator("input[type=search]").fill("nothing says this")
        big.get_by_role("button", name="show all events").click()
        listing.press("End")
        assert rows.filter(has_text="response.done").get_attribute("aria-selected") == "true"
        big.locator(".kit-ev-detail pre").wait_for()
        listing.press("Escape")
        assert big.locator(".kit-ev-detail:visible").count() == 0
        page.locator(".jp-OutputArea").last.scroll_into_view_if_needed()

        assert page.evaluate("() => window.pwned") is None
        assert "\u202e" not in page.evaluate("() => document.body.innerText")
        assert browser.outside(page.requested) == []
        assert page.problems == []
