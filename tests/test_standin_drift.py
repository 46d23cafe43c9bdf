"""Drift rules: what they decide from which items, and that their draws belong to seed and trial."""

import time
from pathlib import Path

import pytest
from talk import SCARECROW, SKELETONS, talk

from kit import connect
from kit.cli.options import OPTIONS
from kit.errors import InputError, SessionClosed
from kit.standin import StandIn
from kit.standin.drift import KINDS, Context, Draws, Silence, rule


def first_decision(name, context, *, seed=0, trial="t"):
    return rule(name).for_session(Draws(seed, trial))(context)


RULES = ["documented", "never", "always", "p=0.3", "per-response=0.25", "p=0", "p=1", "share=0.2", "silent=0.1"]
RULES += ["fresh:share=0.5", "share=0.1+silent=0.05+late=0.2:3000+empty=0.01"]


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_called_what_it_was_made_from(name):
    assert str(rule(name)) == name


NO_RULES = ",sometimes,p=,p=1.1,p=-0.1,p=nan,per-response,P=0.5"
NO_RULES += ",share=2,late=0.1,late=0.1:-5,late=0.1:x,silent,fresh:,never+,never+sometimes"


@pytest.mark.parametrize("name", [*NO_RULES.split(","), 7, None])
def test_no_other_name_is_taken(name):
    with pytest.raises(InputError, match="no drift rule is called"):
        rule(name)


def test_a_number_that_cannot_be_is_told_the_limits_of_its_rule():
    for name in ("late=0.1:4e6", "share=0.1+late=2:5", "late=0.1"):
        with pytest.raises(InputError, match="late=Q:MS, Q from 0 to 1, MS from 0 to 3,600,000$"):
            rule(name)
    with pytest.raises(InputError, match="called 'always=1': it is always$"):
        rule("always=1")


@pytest.mark.parametrize(
    ("context", "drifts"),
    [
        (Context(), False),
        (Context(assistant_text=1), True),
        (Context(assistant_text=1, user_audio=1, starts_with_user_audio=True), False),
        (Context(assistant_text=2, user_audio=1, starts_with_user_audio=True), True),
        (Context(assistant_text=1, user_audio=1), True),
        (Context(system_text=1), True),
    ],
)
def test_documented_is_a_function_of_the_items(context, drifts):
    assert first_decision("documented", context) is drifts


def test_p_draws_once_with_one_minus_no_hit_in_k():
    context = Context(assistant_text=3, user_audio=1)
    drifted = [first_decision("p=0.3", context, trial=str(n)) for n in range(4000)]

    assert sum(drifted) / 4000 == pytest.approx(1 - 0.7**2, abs=0.03)


def test_p_never_drifts_without_assistant_text_beyond_user_audio():
    assert not any(first_decision("p=1", Context(assistant_text=1, user_audio=1), trial=str(n)) for n in range(50))


def test_p_stays_with_its_first_decision():
    decide = rule("p=1").for_session(Draws(0, "t"))

    assert [decide(Context()), decide(Context(assistant_text=5))] == [False, False]


def test_per_response_draws_each_time():
    decide = rule("per-response=0.5").for_session(Draws(3, "t"))

    assert sum(decide(Context()) for _ in range(1000)) == pytest.approx(500, abs=60)


def test_share_is_of_sessions_whatever_is_in_them():
    decides = [rule("share=0.3").for_session(Draws(0, str(n))) for n in range(4000)]
    first = [decide(Context()) for decide in decides]

    assert sum(first) / 4000 == pytest.approx(0.3, abs=0.03)
    assert first == [decide(Context(assistant_text=3)) for decide in decides]


@pytest.mark.parametrize(
    ("name", "same"), [("share=0.5", True), ("fresh:share=0.5", False), ("fresh:silent=0.5", False)]
)
def test_a_fresh_rule_draws_again_at_every_attempt_and_others_do_not(name, same):
    def decisions(attempt):
        return [rule(name).for_session(Draws(0, str(n), attempt))(Context()) for n in range(50)]

    assert decisions("1") == decisions("1")
    assert (decisions("1") == decisions("2")) is same


def test_a_rule_that_says_twice_when_a_reply_is_text_is_refused():
    with pytest.raises(InputError, match="says twice"):
        rule("never+share=0.5")


def test_the_chances_of_silence_are_those_of_responses():
    decide = rule("share=0+silent=0.2+late=0.5:1500").for_session(Draws(0, "t"))
    decided = [decide(Context()) for _ in range(2000)]
    kinds = [value.kind if isinstance(value, Silence) else "audio" for value in decided]

    assert kinds.count("silent") / 2000 == pytest.approx(0.2, abs=0.03)
    assert kinds.count("late") / 2000 == pytest.approx(0.8 * 0.5, abs=0.03)
    assert {value.late_s for value in decided if isinstance(value, Silence) and value.kind == "late"} == {1.5}


async def test_a_silent_reply_begins_and_never_has_content():
    async with StandIn(drift="silent=1") as server, talk(server) as t:
        await t.say("user", "Tell me a joke.")
        await t.send("response.create")
        await t.until("response.created")
        await t.send("response.cancel")
        done = (await t.until("response.done"))["response"]

    assert (done["status"], done["output"]) == ("cancelled", [])
    assert not [kind for kind in t.types if kind.startswith("response.output")]


async def test_an_empty_reply_is_completed_without_output():
    async with StandIn(drift="empty=1") as server, talk(server) as t:
        await t.say("user", "Tell me a joke.")
        done = await t.respond()

    assert (done["status"], done["output"], done["usage"]["output_tokens"]) == ("completed", [], 0)


@pytest.mark.parametrize(("text", "kind"), [("never", "output_audio"), ("always", "output_text")])
async def test_a_late_reply_comes_later_as_the_other_rule_says(text, kind):
    async with StandIn(drift=f"{text}+late=1:120") as server, talk(server) as t:
        await t.say("user", "Tell me a joke.")
        began = time.monotonic()
        done = await t.respond()

    assert time.monotonic() - began >= 0.12
    assert done["output"][0]["content"][0]["type"] == kind


def test_the_same_seed_and_trial_draw_the_same():
    assert Draws(1, "a").uniform("x") == Draws(1, "a").uniform("x")
    assert len({Draws(1, "a").uniform("x"), Draws(2, "a").uniform("x"), Draws(1, "b").uniform("x")}) == 3


async def modality_of_each(server, dialect, seeds, asks=()):
    """Kinds of the parts that come back: to the seeds, then to each further ask."""
    async with talk(server, dialect) as t:
        for role, said in seeds:
            await t.add(t.user_audio(said) if isinstance(said, bytes) else t.text(role, said))
        kinds = [(await t.respond())["output"][0]["content"][0]["type"]]
        for ask in asks:
            await t.say("user", ask)
            kinds.append((await t.respond())["output"][0]["content"][0]["type"])
        return ["audio" if "audio" in kind else "text" for kind in kinds]


CLIP = bytes(48 * 1760)
ONE_A = [("user", "Tell me a joke.")]
ONE_B = [*ONE_A, ("assistant", SKELETONS), ("user", "Another one, please.")]
TWO_A = [("user", CLIP), ("assistant", SKELETONS), ("user", "Tell me another joke.")]
TWO_B = [*TWO_A, ("assistant", SCARECROW), ("user", "That was hilarious. One more, please.")]


@pytest.mark.parametrize("dialect", ["ga", "beta"])
@pytest.mark.parametrize(
    ("seeds", "expected"),
    [(ONE_A, "audio"), (ONE_B, "text"), (TWO_A, "audio"), (TWO_B, "text")],
    ids=["1a", "1b", "2a", "2b"],
)
async def test_the_four_cases_come_out_as_reported(dialect, seeds, expected):
    async with StandIn() as server:
        kinds = await modality_of_each(server, dialect, seeds, asks=["One more, please.", "And another."])

    assert kinds == [expected] * 3


async def test_a_system_item_alone_turns_to_text():
    async with StandIn() as server:
        assert await modality_of_each(server, "ga", [("system", "Be kind."), ("user", "Hello.")]) == ["text"]


async def test_a_text_only_request_gets_text_under_every_rule():
    async with StandIn(drift="never") as server, talk(server) as t:
        await t.say("user", "Tell me a joke.")

        response = await t.respond(output_modalities=["text"])

        assert response["output"][0]["content"][0]["type"] == "output_text"


async def test_an_out_of_band_response_drifts_by_its_own_context():
    async with StandIn() as server, talk(server) as t:
        for role, said in ONE_B:
            await t.say(role, said)

        alone = await t.respond(conversation="none", input=[t.text("user", "Tell me a joke.")])
        whole = await t.respond(conversation="none")

        assert alone["output"][0]["content"][0]["type"] == "output_audio"
        assert whole["output"][0]["content"][0]["type"] == "output_text"


async def test_trial_and_seed_decide_the_draw_whatever_the_order():
    async def drifted(server, trial):
        async with talk(server, trial=trial) as t:
            for role, said in ONE_B:
                await t.say(role, said)
            response = await t.respond()
            return response["output"][0]["content"][0]

    trials = [str(n) for n in range(12)]
    async with StandIn(drift="p=0.5", seed=5) as server:
        forward = {trial: await drifted(server, trial) for trial in trials}
    async with StandIn(drift="p=0.5", seed=5) as server:
        backward = {trial: await drifted(server, trial) for trial in reversed(trials)}

    assert forward == backward
    assert len({part["type"] for part in forward.values()}) == 2


def test_the_readme_the_help_and_the_errors_say_what_the_one_list_says():
    import kit.standin

    rows = ["| rule | what happens |", "|---|---|", *(f"| `{kind.spelling}` | {kind.does} |" for kind in KINDS)]
    assert "\n".join(rows) in (Path(kit.standin.__file__).parent / "README.md").read_text(encoding="utf-8")
    with pytest.raises(InputError) as error:
        rule("sometimes")
    assert all(kind.spelling in str(error.value) and kind.spelling in OPTIONS["drift"]["help"]() for kind in KINDS)


async def test_a_rule_that_raises_is_logged_with_its_traceback(caplog):
    class Broken:
        def for_session(self, draws):
            return lambda context: context.no_such_count

    async with connect("standin", drift=Broken(), quiet=True) as session:
        with pytest.raises(SessionClosed):
            await session.ask("Tell me a joke.")

    assert "no_such_count" in caplog.text
