"""The arms: what each hands over, over a real socket, and what it costs."""

import asyncio

import pytest

from kit import Case, Clip, History, Plan, Settings, arms, cases, run
from kit.errors import InputError
from kit.trials.attempt import prepare


def prepared(arm, case=cases.one_b, **settings):
    (trial,) = Plan(case, arm, 1, settings=Settings(**settings)).trials
    return prepare(trial)


def roles(history):
    return [item.role or item.type for item in history]


async def one(tmp_path, arm, case="1b", drift="documented", **options):
    """One trial of an arm; gives rows of its attempt, its turns and its responses."""
    settings = Settings(stand_in={"drift": drift}, **options)
    plan = Plan(case, arm, 1, settings=settings)
    ledger = await run(plan, tmp_path / f"{plan.hash[:8]}.sqlite", progress=None, keep_events=True)
    (attempt,) = ledger.rows("SELECT * FROM attempts")
    return attempt, ledger.rows("SELECT * FROM turns"), ledger.rows("SELECT * FROM responses")


# ------------------------------------------------------------------------------------------------- as a list of choices


def test_every_arm_says_where_it_was_reported_and_what_came_of_it():
    for arm in arms.all_arms():
        assert "Source:" in type(arm).__doc__
        assert arm.source and arm.reported
        assert arms.arm(arm.name) is arm
        assert getattr(arms, arm.name) is arm


def test_every_class_of_the_file_is_an_arm_of_the_kit():
    kinds = {kind for kind in vars(arms).values() if isinstance(kind, type) and issubclass(kind, arms.Arm)}

    assert {type(arm) for arm in (*arms.all_arms(), *arms.all_arms("live"))} == kinds - {arms.Arm}


def test_an_arm_that_is_none_is_named_with_those_there_are():
    with pytest.raises(InputError, match=r"no arm is called 'louder'; there are as_is, one_user_message"):
        arms.arm("louder")


def test_an_option_that_is_not_the_default_is_in_the_name():
    assert arms.delete_and_retry.name == "delete_and_retry"
    assert arms.DeleteAndRetry(n=2).name == "delete_and_retry(n=2)"
    assert arms.DeleteAndRetry(n=2).max_responses == 3


async def test_a_new_arm_takes_a_few_lines(tmp_path):
    class Reminder(arms.Arm):
        """A system item before everything."""

        def history(self, history):
            return History().system("Speak.") + history

    attempt, turns, _ = await one(tmp_path, Reminder, "1a")

    assert attempt["n_items_sent"] == 2
    assert turns[0]["final_modality"] == "text"  # `documented`: a system item is enough


# -------------------------------------------------------------------------------------------------- shapes of a history


def test_one_user_message_holds_every_word_of_the_history():
    history = prepared("one_user_message", cases.tools).history

    assert roles(history) == ["user"]
    for item in cases.tools.history:
        assert item.text.replace('"', '\\"') in history.items[0].text


def test_labels_make_every_earlier_turn_the_users_and_leave_the_last_and_the_spoken_alone():
    history = prepared("user_messages_with_labels").history
    spoken = prepared("user_messages_with_labels", cases.two_a).history

    assert roles(history) == ["user"] * 3
    assert history.items[1].text == f"[Assistant] {cases.SKELETON}"
    assert history.items[2] == cases.one_b.history.items[2]
    assert spoken.items[0].parts[0].clip == Clip.named(cases.CLIP_NAME)


def test_history_in_instructions_is_added_to_those_of_the_plan():
    made = prepared("history_in_instructions", instructions="Be brief.")

    assert len(made.history) == 1
    assert made.settings["instructions"].startswith("Be brief.\n\nThe conversation so far:\nuser: Tell me a joke.\n")
    assert cases.SKELETON in made.settings["instructions"]


def test_a_summary_that_keeps_nothing_is_of_everything():
    (summary,) = arms.Summary(keep=0).history(cases.one_b.history)

    assert summary.role == "system" and "Tell me a joke." in summary.text


def test_assistant_turns_become_system_items():
    assert roles(prepared("assistant_as_system").history) == ["user", "system", "user"]


def test_user_turns_are_spoken_also_the_later_ones():
    made = prepared("spoken_user_turns", cases.one_b.then("One more, please."))

    assert [bool(item.parts[0].clip) for item in made.history] == [True, False, True]
    assert isinstance(made.turns[0], Clip)


@pytest.mark.parametrize("arm", arms.all_arms(), ids=lambda arm: arm.name)
@pytest.mark.parametrize("dialect", ["ga", "beta"])
@pytest.mark.parametrize("case", [cases.one_a, cases.two_b, cases.tools, cases.system_only], ids=lambda case: case.name)
def test_what_an_arm_makes_of_a_history_the_service_takes(arm, dialect, case):
    history = prepared(arm, case).history

    assert bool(history.lint(dialect)) == (arm is arms.assistant_audio and "assistant" in roles(case.history))
    assert len(case.history) == 0 or len(history) > 0


# --------------------------------------------------------------------------------------------------- what they do on wire

CURED = {  # by the stand-in's rule, which sees items only: no assistant text, no system item
    "one_user_message",
    "user_messages_with_labels",
    "history_in_instructions",
    "spoken_user_turns",
}


@pytest.mark.parametrize("arm", [a for a in arms.all_arms() if not a.expects], ids=lambda arm: arm.name)
async def test_an_arm_drifts_as_the_items_that_it_leaves_say(tmp_path, arm):
    _, (turn,), _ = await one(tmp_path, arm)

    assert turn["final_modality"] == ("audio" if arm.name in CURED else "text")


@pytest.mark.refusal
async def test_assistant_audio_is_refused_as_expected_and_that_is_a_row(tmp_path):
    attempt, turns, _ = await one(tmp_path, "assistant_audio")

    assert (attempt["status"], attempt["kind"], attempt["expected"]) == ("failed", "refused", 1)
    assert attempt["error_type"] == "SeedRefused"
    assert (attempt["stage"], attempt["cost_usd"], turns) == ("connecting", 0, [])


async def test_a_reply_in_text_is_deleted_and_asked_again_up_to_n_times(tmp_path):
    attempt, (turn,), responses = await one(tmp_path, arms.DeleteAndRetry(n=2), drift="always")

    assert [row["modality"] for row in responses] == ["text"] * 3
    assert (turn["n_responses"], turn["n_items_sent"], turn["heard_ms"]) == (3, 2, None)
    assert (attempt["n_deletes_sent"], attempt["n_items_sent"]) == (2, 3 + 2)


async def test_asking_again_stops_at_the_first_reply_that_is_heard(tmp_path):
    class TwiceText:
        """Text, text, then audio."""

        def __str__(self):
            return "twice text"

        def for_session(self, draws):
            replies = iter([True, True, False])
            return lambda context: next(replies)

    attempt, (turn,), responses = await one(tmp_path, "delete_and_retry", drift=TwiceText())

    assert [row["modality"] for row in responses] == ["text", "text", "audio"]
    assert (turn["first_modality"], turn["final_modality"]) == ("text", "audio")
    assert turn["heard_ms"] > responses[2]["first_audio_ms"]  # counted from asking first
    assert attempt["n_deletes_sent"] == 2


async def test_silence_is_one_more_item_and_no_response(tmp_path):
    attempt, (turn,), _ = await one(tmp_path, "silent_audio")

    assert (attempt["n_items_sent"], turn["n_responses"], turn["n_items_sent"]) == (4, 1, 0)


async def test_out_of_band_seeds_nothing_and_knows_what_was_said(tmp_path):
    case = cases.one_a.then("Another one, please.", "One more, please.")
    attempt, turns, responses = await one(tmp_path, "out_of_band", case)

    assert attempt["n_items_sent"] == 0
    assert [turn["final_modality"] for turn in turns] == ["audio", "text", "text"]  # its own replies are its history
    read = [row["input_text_tokens"] for row in responses]
    assert read == sorted(read)
    assert len(set(read)) == 3


async def test_updates_are_counted(tmp_path):
    sent = {
        name: (await one(tmp_path, name, max_output_tokens=None))[0]["n_updates_sent"]
        for name in ("as_is", "update_again", "text_then_audio", "forcing_instructions")
    }

    assert sent == {"as_is": 0, "update_again": 1, "text_then_audio": 2, "forcing_instructions": 1}


async def test_one_at_a_time_waits_for_each_item(tmp_path):
    import json
    import zlib

    from kit import Ledger

    async def order(arm):
        plan = Plan("1b", arm, 1)
        ledger = await run(plan, tmp_path / f"{arm}.sqlite", progress=None, keep_events=True)
        lines = zlib.decompress(Ledger(ledger).rows("SELECT jsonl FROM events")[0]["jsonl"]).splitlines()
        types = [json.loads(line)["event"]["type"] for line in lines]
        return [
            kind.split(".")[-1] for kind in types if kind in ("conversation.item.create", "conversation.item.added")
        ]

    assert await order("as_is") == ["create"] * 3 + ["added"] * 4
    assert (await order("one_at_a_time"))[:6] == ["create", "added"] * 3


async def test_a_summary_is_the_same_words_in_either_role_and_the_last_two_turns_stay(tmp_path):
    system, assistant = (prepared(name).history for name in ("summary", "summary_as_assistant"))

    assert (roles(system), roles(assistant)) == (["system", "assistant", "user"], ["assistant", "assistant", "user"])
    assert system.items[0].text == assistant.items[0].text
    assert system.items[1:] == cases.one_b.history.items[1:]


async def test_compaction_puts_a_summary_at_the_root_and_deletes_what_it_tells(tmp_path):
    case = cases.one_a.then("Another one, please.", "One more, please.")
    attempt, turns, _ = await one(tmp_path, "compaction", case, drift="never")

    assert [turn["outcome"] for turn in turns] == ["spoken"] * 3
    assert attempt["n_items_sent"] == 1 + 2 + 1  # one of the second turn's seeds finds two items, too few to compact
    assert attempt["n_deletes_sent"] == 2


async def test_a_text_beside_the_talk_is_a_row_of_no_turn(tmp_path):
    _, (turn,), responses = await one(tmp_path, "text_beside", "1a", drift="never")

    assert (turn["outcome"], turn["n_responses"]) == ("spoken", 1)
    assert sorted((row["turn"], row["modality"]) for row in responses) == [(-1, "text"), (0, "audio")]


def test_an_arm_that_an_endpoint_cannot_carry_is_left_out_with_the_reason():
    from dataclasses import replace

    from kit import services

    service = next(s for s in services.SERVICES.values() if s.can.deletes is False or (s.can.seeds is not None and
                   set(s.can.seeds) < {"system", "user", "assistant"}))  # fmt: skip
    where = Settings("ws://127.0.0.1:9/v1/realtime").where
    limited = replace(where, name=service.name)
    said = [arm.unsupported(limited, cases.one_b.history) for arm in arms.all_arms()]

    assert any(said) and not all(said)
    assert all(service.name in reason for reason in said if reason)


def test_a_plan_has_no_trials_of_what_it_leaves_out_and_says_why():
    class Picky(arms.Arm):
        def unsupported(self, where, history):
            return f"{where.name} cannot do this" if len(history) > 1 else None

    plan = Plan(["1a", "1b"], [arms.as_is, Picky], 3)

    assert plan.n_trials == len(plan.trials) == 9
    assert plan.skipped == {("1b", "picky", 0): "standin cannot do this"}
    assert "picky of 1b: standin cannot do this" in plan._repr_html_()
    with pytest.raises(InputError, match="nothing of this plan can be run: standin cannot do this"):
        Plan("1b", Picky, 3)


# ------------------------------------------------------------------------------------------------------- arms of others


async def test_an_arm_that_breaks_is_a_row_and_the_others_go_on(tmp_path):
    class Broken(arms.Arm):
        async def after_seed(self, session):
            raise ZeroDivisionError("in the arm")

    plan = Plan("1a", [Broken, "as_is"], 2)
    ledger = await run(plan, tmp_path / "broken.sqlite", progress=None)

    assert ledger.counts() == {"planned": 4, "completed": 2, "failed": 2, "missing": 0}
    rows = ledger.rows("SELECT kind, error_type, error FROM attempts WHERE status = 'failed'")
    assert {tuple(row) for row in rows} == {("error", "ZeroDivisionError", "in the arm")}


async def test_an_arm_that_cannot_prepare_stops_before_anything_is_sent(tmp_path):
    with pytest.raises(ImportError, match="is not recorded"):
        plan = Plan(Case("new", History().user("Nobody recorded this."), "audio"), "spoken_user_turns", 1)
        await run(plan, tmp_path / "none.sqlite", progress=None)


async def test_an_arm_cannot_ask_for_ever(tmp_path):
    class Stubborn(arms.Arm):
        max_responses = 4

        async def on_text(self, session, response, n_texts):
            await asyncio.sleep(0)
            return True

    _, (turn,), _ = await one(tmp_path, Stubborn)

    assert turn["n_responses"] == 4


async def test_an_arm_of_ones_own_that_fails_says_why_in_the_ledgers_own_line(tmp_path):
    class Wrong(arms.Arm):
        async def after_seed(self, session):
            raise KeyError("voice")

    ledger = await run(Plan("1a", [arms.as_is, Wrong()], 2), tmp_path / "t.sqlite", progress=None)

    assert "failed 2, missing 0, failed most often by KeyError (2), such as: 'voice'" in repr(ledger)
