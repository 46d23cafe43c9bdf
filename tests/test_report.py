"""The report: one page that says what it must, opens from disk and asks for nothing; and the verbs that make it."""

import asyncio
import csv
import io
import json
import os
import re
import shutil
import sqlite3
from contextlib import closing
from html.parser import HTMLParser

import pytest
from browser import CHROMIUM, chromium
from written_ledger import write

from kit import Ledger, Plan, Settings, arms, report, run, show
from kit.cli import main
from kit.cli.screen import draw_table
from kit.errors import InputError, KitError, LedgerError

TRIALS = [
    ("1b", "as_is", "t t"),
    ("1b", "as_is", "a t"),
    ("1b", "cure", "a a"),
    ("1b", "cure", "a a"),
    ("1b", "cure", "t !"),
    ("1b", "as_is", None),
]
FIT = [("text asked", "as_is", "t", "positive"), ("no history", "as_is", "a", "negative")]
UNFIT = [("text asked", "as_is", "a", "positive"), ("no history", "as_is", "a", "negative")]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """``page(trials)``: the report's HTML; each is made once."""
    made = {}

    def make(trials, **about):
        key = repr((trials, about))
        if key not in made:
            folder = tmp_path_factory.mktemp("report")
            made[key] = report(write(folder / "a.sqlite", trials, **about), folder).path.read_text(encoding="utf-8")
        return made[key]

    return make


class Tags(HTMLParser):
    """The tags that are open at the end, and everything that an attribute points to."""

    VOID = ("meta", "br", "img", "use", "path", "rect", "input", "link")

    def __init__(self):
        super().__init__()
        self.open, self.links, self.text = [], [], ""

    def handle_starttag(self, tag, attributes):
        if tag not in self.VOID:
            self.open.append(tag)
        self.links += [value for name, value in attributes if name in ("href", "src", "xlink:href") and value]

    def handle_startendtag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("href", "src", "xlink:href") and value]

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def read(html):
    tags = Tags()
    tags.feed(html)
    return tags


def test_it_has_every_part_that_a_reader_needs(page):
    text = read(page(TRIALS + FIT)).text

    for part in (
        "In short",
        "Pictures",
        "Table",
        "Comparisons",
        "Controls",
        "Plan",
        "Failures",
        "Cost",
        "Versions",
        "For the vendor",
        "How it was counted",
    ):
        assert part in text
    assert "feed" * 16 in text
    assert "5 of 6 planned trials" not in text and "4 of 6 planned trials" in text


def test_it_is_whole_and_points_to_nothing_outside_itself(page):
    tags = read(page(TRIALS))

    assert tags.open == []
    assert {link.split(":")[0] if not link.startswith("#") else "#" for link in tags.links} <= {"#", "data"}


def test_a_strip_leads_to_its_trial_and_what_it_said(page):
    html = page(TRIALS)

    links = set(re.findall(r'href="#(f0a-trial-[^"]+)"', html))
    assert {f"f0a-trial-trial{n:04d}" for n in range(6)} == links
    assert all(html.count(f'id="{link}"') == 1 for link in links)
    row = html.partition('id="f0a-trial-trial0000"')[2].partition("</tr>")[0]
    assert "as is" in row and "¶ text" in row and "words" in row


def test_every_table_has_a_heading_for_each_cell(page):
    for table in re.findall(r"<table>.*?</table>", page(TRIALS + FIT), re.DOTALL):
        n = table.count("<th>")
        assert {row.count("<td") for row in table.split("<tr")[2:]} <= {n}, table[:200]


def test_ids_on_the_page_are_unique(page):
    ids = re.findall(r'\bid="([^"]+)"', page(TRIALS))

    assert len(ids) == len(set(ids))


def test_controls_that_read_what_they_must_are_said_and_one_that_does_not_marks_it_unfit(page, tmp_path):
    unfit = "Unfit. A control did not read what it must (standin gpt-realtime: asked so that it must read text, read audio 1)"

    assert "Controls as they must be." in read(page(TRIALS + FIT)).text
    assert unfit in read(page(TRIALS + UNFIT)).text
    made = report(write(tmp_path / "a.sqlite", [("1b", "as_is", "a"), *UNFIT]), tmp_path)
    assert made.fit is False and "UNFIT" in repr(made)


def test_without_controls_it_says_that_nothing_is_known_of_the_instrument(page):
    assert "No controls. The plan has none" in read(page(TRIALS)).text


def test_what_is_simulated_says_so_in_every_sentence_and_picture_and_what_is_measured_never(page):
    html, measured = page(TRIALS), page(TRIALS, simulated=0, endpoint="openai")

    sentences = re.findall(r"<li[^>]*>(.*?)</li>", html)
    assert sentences and all(sentence.startswith(f"[{show.SIMULATED}]") for sentence in sentences)
    assert "This shows the instrument at work" in html
    assert html.count("-origin") == html.count("<figure>")
    assert show.SIMULATED not in read(measured).text and "-origin" not in measured


def test_ids_of_what_drifted_are_there_for_the_vendor(page):
    tags = read(page(TRIALS))

    assert "resp_0_0_0" in tags.text and "sess_0" in tags.text and "resp_2_0_0" not in tags.text
    (link,) = [link for link in tags.links if link.startswith("data:text/csv")][-1:]
    import base64

    rows = list(csv.DictReader(io.StringIO(base64.b64decode(link.partition(",")[2]).decode())))
    assert {row["response_id"] for row in rows} == {"resp_0_0_0", "resp_0_1_0", "resp_1_1_0", "resp_4_0_0"}


def test_what_was_reported_stands_beside_what_was_found_and_is_never_taken_for_it(page):
    trials = [("1b", "as_is", "t t"), ("1b", "as_is", "a t"), ("1b", "one_user_message", "a a"), ("1b", "mine", "t t")]
    text = read(page(trials)).text.partition("Reported, and found")[2].partition("Comparisons")[0]

    assert "no finding of this report" in text
    assert "found (stand-in: simulated)" in text and "1 of 2 text: 50 %" in text
    assert arms.one_user_message.reported in text and arms.one_user_message.source in text
    assert "nothing: this arm is not one of the kit's" in text
    assert "measured 2" in read(page(trials, simulated=0, endpoint="openai")).text


def test_rules_that_were_made_from_the_reports_are_said_to_be(tmp_path):
    ledger = asyncio.run(run(Plan("1b", repeats=2), tmp_path / "a.sqlite", progress=None))

    text = read(report(ledger, tmp_path).path.read_text()).text

    assert "made from these reports, so that agreement with them shows nothing but the instrument" in text
    assert "2 of 2 text: 100 %" in text and "text only, for the rest of the session" in text


def test_what_an_arm_costs_stands_beside_what_it_cures(tmp_path):
    settings = Settings(stand_in={"drift": "always"})
    plan = Plan("1b", ["as_is", "delete_and_retry"], repeats=2, settings=settings)
    ledger = asyncio.run(run(plan, tmp_path / "a.sqlite", progress=None))

    html = report(ledger, tmp_path).path.read_text().partition("What an arm costs")[2].partition("</table>")[0]

    as_is, retry = (re.findall(r"<td[^>]*>(.*?)</td>", row) for row in html.split("<tr>")[2:4])
    assert as_is[2:6] == ["3", "1", "0", "1"]  # items, updates, deletions, responses
    assert retry[2:6] == ["8 (+5)", "1", "5 (+5)", "6 (+5)"]


def test_failures_are_named_by_kind(page):
    text = read(page(TRIALS)).text

    assert "1 of 5 attempts" in text and "timeout" in text and "nothing came for 60 s" in text


def test_an_unfinished_ledger_says_what_was_not_run(page):
    assert "Not finished. 1 of 6 trials were not run." in read(page(TRIALS)).text


# What may be said, and what could tilt it


def changed(ledger, *statements, plan=None):
    """The ledger with SQL run on it, and entries of its plan replaced."""
    with closing(sqlite3.connect(ledger.path)) as db, db:
        for sql in statements:
            db.execute(sql)
        if plan:
            db.execute("UPDATE plan SET plan = ?", (json.dumps(ledger.plan | plan),))
    return Ledger(ledger.path)


def text_of(ledger, **options):
    return read(report(ledger, **options).path.read_text()).text.replace("\u00a0", " ")


def in_short(text):
    return text.partition("In short")[2].partition("Pictures")[0]


def test_it_begins_with_a_sentence_for_each_case_and_pools_no_rate(tmp_path):
    trials = [("1a", "as_is", "a"), ("1a", "as_is", "a"), ("1b", "as_is", "t"), ("1b", "as_is", "t")]

    text = in_short(text_of(write(tmp_path / "a.sqlite", trials)))

    assert "case 1a, as is: 0 of 2 first turns were answered in text (0 %, 95 % interval 0.0 to 65.8)." in text
    assert "case 1b, as is: 2 of 2 first turns were answered in text (100 %" in text
    assert "2 of 4" not in text


def test_a_sentence_is_marked_by_its_own_origin_and_times_say_of_how_many(tmp_path):
    ledger = write(
        tmp_path / "a.sqlite", [("1a", "as_is", "a"), ("1b", "as_is", "t a")], simulated=0, endpoint="openai"
    )
    ledger = changed(ledger, "UPDATE attempts SET simulated = 1 WHERE attempt_id = 2")

    text = text_of(ledger)

    assert re.search(r"(?<!\] )case 1a, as is: 0 of 1", in_short(text))
    assert "[stand-in: simulated] case 1b, as is: 1 of 1" in in_short(text) and "origin unknown]" not in in_short(text)
    assert "text again in 0 % of 1 turn (of one trial, so without an interval)" in in_short(text)
    assert "300 ms of 1" in text


def test_the_level_is_printed_and_not_assumed(tmp_path):
    text = text_of(write(tmp_path / "a.sqlite", TRIALS), level=0.5)

    assert "50 % interval" in in_short(text) and "95 % interval" not in text


def test_lost_voice_stands_beside_drift_and_other_definitions_beside_both(tmp_path):
    ledger = write(tmp_path / "a.sqlite", [("1b", "as_is", word) for word in "taeam"])
    outcomes = ("text", "spoken", "silent", "late", "both")
    ledger = changed(
        ledger, *(f"UPDATE turns SET outcome = '{word}' WHERE attempt_id = {n}" for n, word in enumerate(outcomes, 1))
    )

    text = text_of(ledger)

    assert "1 of 5 first turns were answered in text (20 %" in in_short(text)
    assert "The voice was lost in 3 of 5." in in_short(text)
    rows = re.findall(
        r"<td[^>]*>(\d of \d) \(", report(ledger, tmp_path).path.read_text().partition("Under other definitions")[2]
    )
    # text, no voice at all, not wholly voice, lost voice
    assert rows[:4] == ["1 of 5", "2 of 5", "3 of 5", "3 of 5"]


def test_a_ledger_of_before_says_that_silence_is_not_known(page):
    assert "Silence is not known." in (text := read(page(TRIALS)).text)
    assert "what was silent or late is not known in it" in text
    # Of a case that nobody has answered nothing was lost, and that is known: the column is left out all the same.
    assert "Silence is not known." in read(page([*TRIALS, ("1a", "as_is", None)])).text


def test_a_comparison_says_so_where_its_arms_failed_unequally(tmp_path):
    trials = [
        ("1b", "as_is", "t"),
        *[("1b", "as_is", "a")] * 9,
        *[("1b", "cure", "a")] * 6,
        *[("1b", "cure", "x !")] * 4,
    ]

    text = in_short(text_of(write(tmp_path / "a.sqlite", trials)))

    assert "Lost after asking: 4 beside 6 answered, against 0 beside 10" in text


def test_trials_are_followed_from_plan_to_answer(page):
    html = page([*TRIALS, ("1b", "cure", "x !")]).partition("How far the trials came")[2].partition("</table>")[0]

    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in html.split("<tr>")[2:]]
    # planned, connected, seeded, asked, answered, attempts lost after asking
    assert [row[:4] for row in rows] == [["as is", "3", "2", "2"], ["cure", "4", "4", "4"]]
    assert [row[5:] for row in rows] == [["2", "0"], ["3", "1"]]


def test_one_day_says_nothing_of_another(page):
    assert "All of it is from one day, 2026-11-22" in read(page(TRIALS)).text


def test_after_a_stop_rule_each_rate_has_the_rules_own_interval(tmp_path):
    trials = [*[("1b", "as_is", "t")] * 4, *[("1b", "as_is", "a")] * 73, ("1b", "as_is", None)]
    ledger = write(tmp_path / "a.sqlite", trials)
    rule = {"width": 0.2, "alpha": 0.05, "n_arms": 2}
    ledger = changed(ledger, "UPDATE runs SET ended = 'stop rule'", plan={"stop": rule})

    text = text_of(ledger)

    assert "97.5 % interval of the stop rule, good at any look, 0.5 to 18.7" in in_short(text)
    assert "Stopped by its rule. 1 of 78 trials were not run. They were never to be run." in text


def test_a_run_ended_by_hand_says_what_its_tests_assume(tmp_path):
    ledger = changed(write(tmp_path / "a.sqlite", TRIALS), "UPDATE runs SET ended = 'interrupted'")

    assert "tests and intervals do not hold: they assume that the number of trials was fixed" in text_of(ledger)


def test_what_was_chosen_after_the_plan_is_marked(tmp_path):
    ledger = write(tmp_path / "a.sqlite", TRIALS)
    assert "froze the trials alone" in text_of(ledger)

    ledger = changed(ledger, plan={"analysis": {"baseline": "cure", "level": 0.9, "alpha": 0.05}})
    assert "Chosen when" not in (text := text_of(ledger))
    assert "90 % interval" in text and "Each arm against “cure”" in text
    later = "not with the plan: the baseline “as is” (planned: “cure”) and the level of 95 % (planned: 90 %)."
    assert later in text_of(ledger, baseline="as_is", level=0.95)


@pytest.mark.parametrize(
    ("controls", "fit", "sentence"),
    [
        (
            [("text asked", "as_is", None, "positive"), FIT[1]],
            None,
            "Fitness not known. No positive control has answered for standin gpt-realtime. In all 0 of 1 sessions",
        ),
        (
            [FIT[0], *[("text asked", "as_is", "x !", "positive")] * 2, *[FIT[1]] * 3],
            True,
            "1 of 3 sessions that were asked for text were read as text. Without a history 0 of 3 came as text",
        ),
        (
            [FIT[0], ("no history", "as_is", "t", "negative"), FIT[1], FIT[1]],
            True,
            "Without a history 1 of 3 came as text… Without a history it was 1 of 3: no difference shown, p = 1, unadjusted.",
        ),
        ([FIT[0], ("no history", "as_is", "t", "negative")], False, "it must read audio, read text 1"),
    ],
    ids=["positive not run", "two of three failed", "background", "cannot speak"],
)
def test_only_a_positive_control_makes_fit_and_background_drift_does_not_make_unfit(tmp_path, controls, fit, sentence):
    made = report(write(tmp_path / "a.sqlite", [("1b", "as_is", "a"), *controls]), tmp_path)

    assert made.fit is fit
    text = read(made.path.read_text()).text
    assert all(part in text for part in sentence.split("… "))


def test_the_host_is_named(tmp_path):
    plan = {"settings": [{"name": "url m", "endpoint": "url", "url": "wss://relay.example.com:8443/v1/realtime"}]}
    ledger = changed(write(tmp_path / "a.sqlite", TRIALS, simulated=0, endpoint="url"), plan=plan)

    assert "on url gpt-realtime at relay.example.com:8443, 2026" in text_of(ledger)


def test_a_name_that_looks_like_a_formula_is_text_in_every_figure_and_on_the_page(page):
    formula = "$\\frac{$"
    trials = [(case, arm, "t a") for case in ("1b", formula) for arm in ("as_is", f"cure {formula}")]

    html = page(trials, model=formula)

    assert html.count("<figure>") >= 5 and formula in read(html).text


def test_foreign_words_do_nothing(page):
    html = page([("<script>alert(1)</script>", "as_is", "t"), ("1b", "<img src=x>", "a")])

    assert "<script>" not in html and "<img" not in html


def test_nothing_to_compare_and_nothing_answered_still_make_a_page(page):
    text = read(page([("1b", "cure", None), ("1b", "other", None)], n_turns=2)).text

    assert "No trial has answered yet." in text and "There is nothing to compare with “as is”" in text


def test_it_replaces_the_report_before_and_goes_where_it_is_told(tmp_path):
    ledger = write(tmp_path / "a.sqlite", [("1b", "as_is", "a")])
    (tmp_path / "mine.html").write_text("what was there")

    assert report(ledger, tmp_path / "deep" / "out").path == tmp_path / "deep" / "out" / "report.html"
    assert report(ledger, tmp_path / "mine.html", question="Again?").path == tmp_path / "mine.html"
    assert "<h1>Again?</h1>" in (tmp_path / "mine.html").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.sqlite", "deep", "mine.html"]


def test_in_a_notebook_its_link_is_one_that_jupyterlab_opens(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = report(write(tmp_path / "a.sqlite", [("1b", "as_is", "a")]), "runs/first look")

    assert 'href="runs/first%20look/report.html"' in made._repr_html_()


def test_a_folder_that_cannot_be_one_and_a_ledger_that_is_none_are_refused(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(InputError, match="cannot write .*choose another folder"):
        report(write(tmp_path / "a.sqlite", TRIALS), tmp_path / "file" / "out")
    with pytest.raises(LedgerError, match="there is no ledger"):
        report(tmp_path / "no.sqlite", tmp_path)


def test_a_baseline_that_is_not_in_the_plan_is_refused_and_nothing_written(tmp_path):
    with pytest.raises(InputError, match="no trial has the arm 'cuer' to compare with; there are as_is, cure"):
        report(write(tmp_path / "a.sqlite", TRIALS), tmp_path / "out", baseline="cuer")

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM plan",
        "UPDATE plan SET plan = 'no JSON'",
        "UPDATE plan SET plan = '[1, 2]'",
        """UPDATE plan SET plan = '{"plan": 1, "stop": "soon"}'""",
        """UPDATE plan SET plan = '{"plan": 1, "cases": [{"items": 7}]}'""",
        "UPDATE attempts SET started_at = 1e300, ended_at = 1e300",
        "UPDATE attempts SET cost_usd = 1e308",
        "UPDATE turns SET turn = -5",
        "UPDATE turns SET n_responses = 9223372036854775807",
        "UPDATE turns SET heard_ms = -9e999",
    ],
)
def test_a_forged_ledger_is_a_page_or_a_sentence(tmp_path, damage):
    ledger = changed(write(tmp_path / "a.sqlite", TRIALS), damage)

    try:
        report(ledger, tmp_path)
    except KitError as error:
        assert "\n" not in str(error)


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("dark", [False, True])
def test_it_opens_from_disk_in_a_browser_with_no_network(tmp_path, dark):
    made = report(write(tmp_path / "a.sqlite", TRIALS + FIT), tmp_path / "out")

    with chromium("--host-resolver-rules=MAP * ~NOTFOUND", dark=dark) as page:
        page.goto(made.path.as_uri())

        assert page.requested == [made.path.as_uri()]
        assert page.problems == []
        assert page.locator("figure svg").count() >= 5
        assert page.locator("figure svg").first.bounding_box()["width"] > 400
        ink = page.evaluate("getComputedStyle(document.documentElement).color")
        title = page.locator("figure svg text, figure svg [style*='--ink']").first
        assert (ink == "rgb(27, 31, 36)") is not dark
        assert page.evaluate("e => getComputedStyle(e).fill", title.element_handle()) in (ink, "none")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate(
            "[...document.querySelectorAll('td')].every(e => e.getBoundingClientRect().right <= innerWidth)"
        )
        if os.environ.get("KIT_SCREENSHOTS"):
            page.screenshot(
                path=f"{os.environ['KIT_SCREENSHOTS']}/report-{'dark' if dark else 'light'}.png", full_page=True
            )


# From a terminal


def test_models_are_never_pooled_in_a_table_unless_it_is_asked_for(tmp_path, capsys):
    paths = [
        str(write(tmp_path / f"{model}.sqlite", [("1b", "as_is", "t")], model=model, plan_hash=model * 4).path)
        for model in ("gpt-realtime", "gpt-realtime-2.1")
    ]

    assert main(["table", *paths, "--json"]) == 0
    assert [row["planned"] for row in json.loads(capsys.readouterr().out)] == [1, 1]
    assert main(["table", *paths, "--json", "--by", "arm"]) == 0
    assert [row["planned"] for row in json.loads(capsys.readouterr().out)] == [2]


def test_a_column_without_room_is_left_out_and_counted(monkeypatch, capsys):
    monkeypatch.setattr("kit.cli.screen.PIPE_WIDTH", 40)

    draw_table(["a", "b", "wide", "c"], [["1", "2", "w" * 50, "3"]])

    assert capsys.readouterr().out.split("\n")[:3] == ["a  b  c", "1  2  3", "1 more column: --csv has them"]


def test_what_every_row_says_makes_room_for_what_was_found(monkeypatch, capsys):
    monkeypatch.setattr("kit.cli.screen.PIPE_WIDTH", 40)
    rows = [[f"standin {model} drift=documented", "as_is", "100 % (84–100)"] for model in ("big", "small")]

    draw_table(["settings", "arm", "drift"], rows)

    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "settings  drift",
        "big       100 % (84–100)",
        "small     100 % (84–100)",
        "settings: standin … drift=documented",
        "arm: as_is",
    ]


def test_table_is_read_printed_or_passed_on(tmp_path, capsys):
    path = str(write(tmp_path / "a.sqlite", TRIALS).path)

    assert main(["table", path]) == 0
    assert "stand-in: simulated" in capsys.readouterr().out
    assert main(["table", path, "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["arm"], row["text"], row["simulated"]) for row in rows] == [
        ("as_is", "1", "True"),
        ("cure", "1", "True"),
    ]
    assert main(["table", path, "--json", "--by", "arm"]) == 0
    assert [row["planned"] for row in json.loads(capsys.readouterr().out)] == [3, 3]
    assert main(["table", path, "--rows", "turns", "--csv"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 6 * 2
    assert main(["table", path, "--rows", "comparisons"]) == 0
    assert "[stand-in: simulated] In case 1b" in " ".join(capsys.readouterr().out.split())


def test_an_empty_table_says_how_it_would_have_rows_and_a_sentence_stays_on_its_line(tmp_path, capsys):
    path = str(write(tmp_path / "a.sqlite", TRIALS).path)

    assert main(["table", path, "--rows", "events"]) == 0
    assert capsys.readouterr().out == "no events: the run was told to keep none (--no-events, keep_events=False)\n"
    assert main(["table", path, "--rows", "comparisons"]) == 0
    assert all(line.startswith("- [stand-in: simulated]") for line in capsys.readouterr().out.splitlines())


def test_table_and_report_of_no_ledger_say_so_in_a_sentence(tmp_path, capsys):
    assert main(["table", str(tmp_path / "no.sqlite")]) != 0
    assert "there is no ledger at" in " ".join(capsys.readouterr().err.split())
    assert main(["report", str(tmp_path / "no.sqlite")]) != 0


def test_a_ledger_that_is_damaged_in_the_middle_is_one_sentence(tmp_path, capsys):
    path = write(tmp_path / "a.sqlite", [("1b", "as_is", "t")] * 300).path
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 4] + b"\xff" * (len(data) // 2) + data[len(data) * 3 // 4 :])

    for verb in ("table", "report"):
        assert main([verb, str(path)]) == 2
        out, err = capsys.readouterr()
        assert "is damaged" in err and "Traceback" not in err and not out


def test_a_copy_of_a_ledger_is_counted_once_and_said_once(tmp_path, capsys):
    path = write(tmp_path / "a.sqlite", TRIALS).path
    copy = str(shutil.copy(path, tmp_path / "copy.sqlite"))

    assert main(["table", str(path), copy, "--csv"]) == 0

    out, err = capsys.readouterr()
    assert err.count("counted once") == 1 and err.startswith("kit: the same plan")
    assert sum(int(row["planned"]) for row in csv.DictReader(io.StringIO(out))) == 6


def test_report_goes_beside_the_ledger_and_says_where_it_is(tmp_path, capsys):
    path = write(tmp_path / "a.sqlite", TRIALS + UNFIT).path

    assert main(["report", str(path)]) == 0

    out = capsys.readouterr().out
    assert str(tmp_path / "a.html") in out.replace("\n", "") and (tmp_path / "a.html").is_file()
    assert "unfit" in out


def test_a_report_of_a_ledger_that_is_being_written_is_one_moment(tmp_path):
    path = write(tmp_path / "a.sqlite", TRIALS).path
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE attempts SET status = 'failed'")

        assert "4 of 6 planned trials" in report(path, tmp_path / "out").path.read_text()


async def test_a_report_plays_what_a_trial_said_where_its_sound_was_kept(tmp_path):
    ledger = await run(Plan("1a", repeats=1), tmp_path / "runs.sqlite", progress=None, keep_sound=True)

    html = report(ledger, tmp_path / "page").path.read_text(encoding="utf-8")

    assert html.count("data:audio/flac;base64,") == 1
    assert "media-src data:" in html and "with the sound of 1 reply" in html
