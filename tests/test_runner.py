"""Running a plan: what is heard, what goes wrong, and who is told."""

import asyncio
import io
import math
from collections import Counter

import pytest
from hostile import Lossy
from killed import quietly

from kit import Clip, Ledger, Plan, Settings, run
from kit.endpoint import PRICES
from kit.errors import (
    ConnectError,
    EndpointError,
    HandshakeRefused,
    InputError,
    LedgerError,
    RemoteProtocolError,
    ResponseTimeout,
    ServerError,
    SessionClosed,
)
from kit.standin import StandIn
from kit.tables import modality_df
from kit.trials import runner as runner_module
from kit.trials.attempt import failure_kind, waiting_time_s
from kit.trials.limits import RateLimiter

pytest_plugins = ["trial_fixtures"]
pytestmark = pytest.mark.usefixtures("unwatched")

FOUR = ["1a", "1b", "2a", "2b"]
PRICED = PRICES["gpt-realtime-2.1"]


def refusal(close_code, code=None):
    return HandshakeRefused(code=code, message="no", close_code=close_code)


def picture(ledger):
    rows = ledger.rows(
        "SELECT case_name, final_modality, COUNT(*) FROM trial_states JOIN turns USING (attempt_id) WHERE turn = 0 GROUP BY 1, 2"
    )
    return [tuple(row) for row in rows]


# ------------------------------------------------------------------------------------------------------- the picture


async def test_400_trials_give_exactly_the_reported_picture(path):
    ledger = await quietly(Plan(FOUR, repeats=100, seed=11), path)

    assert picture(ledger) == [("1a", "audio", 100), ("1b", "text", 100), ("2a", "audio", 100), ("2b", "text", 100)]
    assert ledger.counts() == {"planned": 400, "completed": 400, "failed": 0, "missing": 0}
    assert ledger.simulated is True


async def test_20_plans_at_a_known_rate_agree_with_the_binomial(tmp_path):
    n, p, drifted = 20, 0.3, []
    for seed in range(20):
        plan = Plan("1b", repeats=n, seed=seed, settings=Settings(stand_in={"drift": f"p={p}"}))
        ledger = await quietly(plan, tmp_path / f"{seed}.sqlite")
        drifted.append(dict((modality, k) for _, modality, k in picture(ledger)).get("text", 0))

    spread = n * p * (1 - p)
    assert abs(sum(drifted) - 20 * n * p) < 3 * math.sqrt(20 * spread)
    # their chi-square on 20 degrees of freedom, between its 0.1 % and 99.9 % points
    assert 5.92 < sum((k - n * p) ** 2 for k in drifted) / spread < 45.3


async def test_draws_belong_to_the_trial_and_not_to_the_order(tmp_path):
    settings = Settings(stand_in={"drift": "p=0.5"})
    one = await quietly(Plan("1b", repeats=30, seed=3, settings=settings), tmp_path / "one.sqlite", at_once=1)
    many = await quietly(Plan(["1a", "1b"], repeats=30, seed=3, settings=settings), tmp_path / "many.sqlite")

    def of(ledger):
        sql = "SELECT turns.trial_id, final_modality FROM trial_states JOIN turns USING (attempt_id) WHERE case_name = '1b'"
        return {tuple(row) for row in ledger.rows(sql)}

    assert of(one) == of(many)


async def test_every_turn_is_a_row_so_that_persistence_can_be_seen(path):
    ledger = await quietly(Plan(["1a", "1b+4"], repeats=2), path)

    rows = ledger.rows("SELECT case_name, turn, final_modality FROM turns JOIN trials USING (trial_id) ORDER BY 1, 2")
    assert [tuple(row) for row in rows if row["case_name"] == "1b+4"] == [
        ("1b+4", n, "text") for n in range(5) for _ in "ab"
    ]


async def test_the_controls_read_what_they_must(path):
    ledger = await quietly(Plan("1b", repeats=2, controls=2), path)

    rows = ledger.rows(
        "SELECT role, final_modality FROM trial_states JOIN turns USING (attempt_id) WHERE role != 'measure'"
    )
    assert Counter(map(tuple, rows)) == {("positive", "text"): 2, ("negative", "audio"): 2}
    assert ledger.counts()["planned"] == 2


async def test_settings_of_several_kinds_run_side_by_side(path):
    settings = [
        Settings(stand_in={"drift": "never"}, voice="echo", turn_detection="manual", instructions="Be brief."),
        Settings(stand_in={"drift": "always"}, dialect="beta"),
    ]
    ledger = await quietly(Plan("1a", repeats=3, settings=settings), path)

    rows = ledger.rows(
        "SELECT DISTINCT settings, final_modality, drift_rule, voice, asked FROM attempts JOIN turns USING (attempt_id) "
        "JOIN responses USING (attempt_id) JOIN trials t ON t.trial_id = attempts.trial_id ORDER BY 1"
    )
    assert [tuple(row) for row in rows] == [
        (0, "audio", "never", "echo", "audio"),
        (1, "text", "always", "alloy", "text+audio"),
    ]


async def test_events_are_kept_if_asked_for_and_without_their_audio(path):
    ledger = await quietly(Plan("1a", repeats=2), path, keep_events=True)

    rows = ledger.rows("SELECT n_events, LENGTH(jsonl) AS size FROM events")
    assert all(row["n_events"] > 40 and row["size"] < 20_000 for row in rows)


async def test_a_trial_keeps_its_sound_if_asked_and_shows_itself_with_it(path, tmp_path):
    plan = Plan(["1a", "1b"], repeats=1, seed=1)
    ledger = await quietly(plan, path, keep_sound=True)
    spoken, silent = sorted((ledger.trial(n) for n in range(2)), key=lambda record: record.trial["case_name"])

    (flac,) = spoken.sounds.values()
    assert Clip.load(io.BytesIO(flac)).n_samples * 2 == spoken.responses[0]["n_audio_bytes"]
    assert "data:audio/flac;base64," in spoken._repr_html_() and "Tell me a joke." in spoken._repr_html_()
    assert not silent.sounds and "no audio: 0 bytes" in silent._repr_html_()
    assert "0 1a as_is: completed, audio" in repr(spoken) or "1 1a as_is: completed, audio" in repr(spoken)

    assert not (await quietly(plan, tmp_path / "without.sqlite")).sounds()
    with pytest.raises(LedgerError, match="no trial 7; there are 2"):
        ledger.trial(7)


# --------------------------------------------------------------------------------------------------- what goes wrong


async def attempts_with(trouble, path, fault, case="1a", **options):
    plan = Plan(case, repeats=1, **options)
    trouble({plan.trials[0].trial_id: fault})
    ledger = await quietly(plan, path)
    return [tuple(row) for row in ledger.rows("SELECT status, kind, counts FROM attempts ORDER BY attempt_id")]


@pytest.mark.parametrize("fault", ["rate-limit=0.1"])
async def test_what_is_lost_before_a_reply_begins_is_tried_again_and_both_are_rows(trouble, path, fault):
    assert await attempts_with(trouble, path, fault) == [("failed", "rate_limit", 0), ("completed", None, 1)]
    lost, played = Ledger(path).rows("SELECT first_outcome, outcome, n_responses FROM turns ORDER BY attempt_id")
    assert tuple(lost) == ("failed", "failed", 1)
    assert tuple(played) == ("spoken", "spoken", 1)


async def test_a_trial_is_tried_no_more_often_than_the_plan_allows(trouble, path):
    rows = await attempts_with(trouble, path, "rate-limit=0.1@every", max_attempts=3)

    assert rows == [("failed", "rate_limit", 0)] * 2 + [("failed", "rate_limit", 1)]


@pytest.mark.parametrize("fault", ["drop", "cut", "close=1011"])
@pytest.mark.parametrize(("case", "came"), [("1a", "spoken"), ("1b", "text")])
async def test_a_reply_that_has_begun_decides_its_trial_however_it_ends(trouble, path, fault, case, came):
    rows = await attempts_with(trouble, path, fault, case=case)

    assert rows == [("failed", "transport", 1)]
    (turn,) = Ledger(path).rows("SELECT * FROM turns")
    assert (turn["first_outcome"], turn["outcome"], turn["ended"]) == (came, came, "broken")
    assert turn["first_modality"] == turn["final_modality"] == {"spoken": "audio"}.get(came, came)


@pytest.mark.parametrize(
    ("fault", "kind"), [("failed", "server"), ("error-event", "server"), ("malformed", "protocol")]
)
async def test_what_is_no_failure_of_transport_is_a_result(trouble, path, fault, kind):
    assert await attempts_with(trouble, path, fault, timeout_s=1) == [("failed", kind, 1)]


async def test_a_reply_that_does_not_end_is_what_it_began_as(trouble, path):
    assert await attempts_with(trouble, path, "stall", timeout_s=1.5) == [("completed", None, 1)]

    (turn,) = Ledger(path).rows("SELECT outcome, ended, final_modality FROM turns")
    assert tuple(turn) == ("spoken", "unfinished", "audio")


async def test_a_server_that_is_there_and_says_nothing_is_silent_and_one_that_is_slow_is_late(trouble, path, tmp_path):
    assert await attempts_with(trouble, path, "slow-start=9", timeout_s=1.5) == [("completed", None, 1)]
    late = tmp_path / "late.sqlite"
    assert await attempts_with(trouble, late, "slow-start=0.3", deadline_s=0.2) == [("completed", None, 1)]

    (silent,) = Ledger(path).rows("SELECT outcome, first_outcome, first_ms, final_modality FROM turns")
    assert tuple(silent) == ("silent", "silent", None, None)
    (turn,) = Ledger(late).rows("SELECT outcome, first_outcome, first_ms, final_modality FROM turns")
    assert (turn["outcome"], turn["first_outcome"], turn["final_modality"]) == ("late", "late", "audio")
    assert 300 <= turn["first_ms"] < 5_000


async def test_a_text_reply_stays_one_when_the_arms_next_try_fails(path):
    """Asking again must not take away what the user had: only text would be at risk of that."""
    plan = Plan("1b", "delete_and_retry", 6, settings=Settings(stand_in={"faults": ["failed@2"]}), timeout_s=5)
    ledger = await quietly(plan, path)

    rows = ledger.rows("SELECT first_outcome, outcome, final_modality, n_responses FROM turns")
    assert {tuple(row) for row in rows} == {("text", "text", "text", 2)}
    assert ledger.counts()["failed"] == 6


async def test_a_drop_after_an_answer_is_not_tried_again_and_the_answer_counts(trouble, path):
    plan = Plan("1b+4", repeats=1)
    trouble({plan.trials[0].trial_id: "drop@2"})
    ledger = await quietly(plan, path)

    (attempt,) = ledger.rows("SELECT status, kind, counts, stage FROM attempts")
    turns = ledger.rows("SELECT turn, final_modality, ended FROM turns ORDER BY turn")
    assert tuple(attempt) == ("failed", "transport", 1, "answered")
    assert [tuple(turn) for turn in turns] == [(0, "text", "complete"), (1, "text", "broken")]


async def test_incomplete_replies_are_answers(trouble, path):
    assert await attempts_with(trouble, path, "incomplete") == [("completed", None, 1)]


async def test_a_refused_key_stops_the_run_and_the_trials_can_be_gone_on_with(path, monkeypatch):
    async with StandIn(require_key="sk-right") as server:
        settings = Settings(f"{server.url}?model=gpt-realtime", key_env="THEIR_KEY", price=PRICED)
        plan = Plan("1a", repeats=20, settings=settings, controls=0)
        with pytest.raises(EndpointError, match="THEIR_KEY is not set"):
            await quietly(plan, path, budget_usd=10)
        assert not path.exists()
        monkeypatch.setenv("THEIR_KEY", "sk-wrong")
        with pytest.raises(ConnectError, match="invalid_api_key"):
            await quietly(plan, path, budget_usd=10, at_once=2)
        assert Ledger(path).counts()["missing"] == 20
        assert Ledger(path).last_run["ended"] == "error"
        assert len(Ledger(path).rows("SELECT 1 FROM attempts")) <= 4
        monkeypatch.setenv("THEIR_KEY", "sk-right")
        ledger = await quietly(plan, path, budget_usd=10)

    assert ledger.counts()["completed"] == 20
    assert b"sk-right" not in path.read_bytes()


async def test_a_key_sent_in_another_way_and_more_headers_reach_the_service_and_no_ledger(path, monkeypatch):
    monkeypatch.setenv("MY_KEY", "a-key-of-12345")
    headers = []

    class Gateway(Lossy):
        async def _talk(self, ws):
            headers.append((ws.request.headers.get("xi-api-key"), ws.request.headers.get("X-Route")))
            await super()._talk(ws)

    async with Gateway() as server:
        settings = Settings(
            server.url, key_env="MY_KEY", auth="xi-api-key", headers={"X-Route": "secret-9876"}, max_output_tokens=None
        )
        ledger = await quietly(Plan("1a", repeats=2, controls=0, settings=settings), path, budget_usd=math.inf)

    assert headers == [("a-key-of-12345", "secret-9876")] * 2
    assert ledger.plan["settings"][0]["headers"] == ["X-Route"] and ledger.counts()["completed"] == 2
    assert not any(secret in path.read_bytes() + repr(settings).encode() for secret in (b"12345", b"9876"))


async def test_where_nobody_answers_the_run_stops_before_every_trial_is_used_up(path, monkeypatch):
    monkeypatch.setattr(runner_module, "_UNREACHABLE_S", 0)
    plan = Plan("1a", repeats=40, settings=Settings("ws://127.0.0.1:9/v1/realtime?model=m"), max_attempts=2)
    with pytest.raises(ConnectError, match="12 attempts in a row came to no session; the last one: cannot reach"):
        await quietly(plan, path, at_once=2)

    assert Ledger(path).counts()["missing"] >= 34
    assert Ledger(path).last_run["ended"] == "error"
    assert {row[0] for row in Ledger(path).rows("SELECT kind FROM attempts WHERE status = 'failed'")} == {"transport"}


async def test_a_mix_of_faults_ends_and_every_failure_is_named(path):
    """A service on a bad day, asked for as anybody can ask for it; two bursts in which it takes nobody."""
    mix = ["drop@p=0.1", "stall@p=0.05", "failed@p=0.05", "http-error=429@30-37", "http-error=429@120-125"]
    plan = Plan(FOUR, repeats=50, seed=1, timeout_s=3, settings=Settings(stand_in={"faults": mix}))

    ledger = await quietly(plan, path)

    n = ledger.counts()
    assert ledger.last_run["ended"] == "complete"
    assert (n["planned"], n["completed"] + n["failed"], n["missing"]) == (200, 200, 0)
    kinds = dict(map(tuple, ledger.rows("SELECT kind, COUNT(*) FROM attempts WHERE kind NOT NULL GROUP BY 1")))
    assert set(kinds) == {"transport", "server", "rate_limit"}
    assert kinds["rate_limit"] == 14
    (unfinished,) = ledger.rows("SELECT COUNT(*) FROM turns WHERE ended = 'unfinished'")
    assert n["failed"] == kinds["transport"] + kinds["server"]
    # of 200 and some attempts: 20, 10 and 10, within three standard errors
    found = [kinds["transport"], unfinished[0], kinds["server"]]
    assert all(abs(k - 200 * p) <= 3 * (200 * p) ** 0.5 + 2 for k, p in zip(found, [0.1, 0.05, 0.05], strict=True))
    table = modality_df(ledger, by=["case"])
    assert list(table["planned"]) == [50] * 4
    assert (table["completed"] + table["failed"]).tolist() == [50] * 4


async def test_stopped_and_gone_on_with_the_same_things_go_wrong(path, tmp_path):
    settings = Settings(stand_in={"faults": ["drop@p=0.3", "failed@p=0.2"], "drift": "p=0.5"})
    plan = Plan(FOUR, repeats=10, seed=3, settings=settings)
    task = None

    def stop(progress):
        if progress.decided >= 15:
            task.cancel()

    task = asyncio.create_task(quietly(plan, path, at_once=4, progress=stop))
    with pytest.raises(asyncio.CancelledError):
        await task
    ledger, calm = await quietly(plan, path, at_once=2), await quietly(plan, tmp_path / "calm.sqlite")

    def ends(ledger):
        rows = ledger.rows(
            "SELECT trial_id, status, kind FROM attempts WHERE status <> 'interrupted' ORDER BY 1, attempt"
        )
        return [tuple(row) for row in rows]

    assert ends(ledger) == ends(calm)
    assert {kind for _, _, kind in ends(calm)} == {None, "transport", "server"}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (refusal(429), "rate_limit"),
        (refusal(429, "insufficient_quota"), "refused"),
        (refusal(503), "transport"),
        (refusal(None), "transport"),
        (refusal(1011), "transport"),
        (refusal(3000, "invalid_api_key"), "refused"),
        (refusal(404), "refused"),
        (SessionClosed("gone", code=1000), "transport"),
        (ResponseTimeout("late"), "timeout"),
        (TimeoutError(), "timeout"),
        (RemoteProtocolError("no JSON"), "protocol"),
        (ConnectionResetError(), "transport"),
        (ServerError(type="server_error", code=None, message=""), "server"),
        (ServerError(type="invalid_request_error", code="rate_limit_exceeded", message=""), "rate_limit"),
        (ServerError(type="invalid_request_error", code="invalid_value", message=""), "refused"),
        (ZeroDivisionError(), "error"),
    ],
    ids=str,
)
def test_a_failure_is_called_by_what_can_be_done_about_it(error, kind):
    assert failure_kind(error)[0] == kind


@pytest.mark.parametrize(
    ("words", "wait_s"),
    [
        ("Please try again in 1.5s. Visit", 1.5),
        ("try again in 200ms", 0.2),
        ("Retry after 2 m", 120),
        ("Please retry after 7 seconds", 7),
        ("try again in 250 milliseconds", 0.25),
        ("Try again later", None),
        ("try again in 1.2.3s", None),
    ],
)
def test_what_the_service_says_about_coming_back_is_understood(words, wait_s):
    assert waiting_time_s(Exception(words)) == wait_s


# ----------------------------------------------------------------------------------------------------- backing off


async def test_all_wait_as_long_as_the_service_says(trouble, path):
    plan = Plan("1a", repeats=20)
    first = plan.trials[0].trial_id
    trouble({first: "rate-limit"})
    ledger = await quietly(plan, path, at_once=2)

    (limited,) = ledger.rows("SELECT trial_id, ended_at FROM attempts WHERE kind = 'rate_limit'")
    starts = [row[0] for row in ledger.rows("SELECT started_at FROM attempts") if row[0] > limited["ended_at"]]
    assert limited["trial_id"] == first
    assert min(starts) - limited["ended_at"] >= 1.4  # "Please try again in 1.5s."
    assert ledger.counts()["completed"] == 20


async def test_where_it_does_not_say_the_wait_doubles_and_one_burst_is_one_time():
    limiter = RateLimiter()

    waits = [limiter.back_off(None), limiter.back_off(None)]
    assert [round(wait) for wait in waits] == [1, 1]
    limiter._opens_at = 0  # it is over
    assert round(limiter.back_off(None)) == 2
    limiter._opens_at = 0
    assert limiter.session_ended(10_000, 2.0, 500) == 0
    assert round(limiter.session_ended(100, 2.0, 500)) == 2
    limiter._opens_at = 0
    assert round(limiter.back_off(None)) == 1  # a session has come through in between


# ----------------------------------------------------------------------------------------------------------- watching


async def test_progress_tells_how_it_goes_and_ends_with_the_whole(path):
    told = []

    def tell(progress):
        told.append((progress.decided, progress.in_flight, progress.over, str(progress)))

    await quietly(Plan(["1a", "1b"], repeats=5), path, progress=tell, at_once=3)

    assert told[0][0] == 0
    assert told[-1][:3] == (10, 0, True)
    assert max(n for _, n, _, _ in told) == 3
    assert told[-1][3] == "♪ audio 5, ¶ text 5, simulated"


async def test_where_no_terminal_is_a_run_ends_in_one_line(path, capfd):
    await run(Plan("1b", repeats=5), path)

    out = capfd.readouterr().err
    assert out.startswith("5 of 5 trials after ") and out.endswith("¶ text 5, simulated\n")  # a file has no bar in it


async def test_what_run_is_given_wrong_is_named(path):
    for options, says in (
        ({"at_once": 0}, "at least 1, not 0"),
        ({"at_once": "8"}, "not '8'"),
    ):
        with pytest.raises(InputError, match=says):
            await run(Plan("1a", repeats=1), path, **options)
    with pytest.raises(InputError, match="takes a Plan"):
        await run("1a", path)
    with pytest.raises(LedgerError, match="is a folder"):
        await run(Plan("1a", repeats=1), path.parent)
