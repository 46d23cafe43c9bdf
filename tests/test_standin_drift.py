"""Drift rules: what they decide from which items, and that their draws belong to seed and trial."""

import pytest
from talk import SCARECROW, SKELETONS, talk

from kit.errors import InputError
from kit.standin import StandIn
from kit.standin.drift import Context, Draws, rule


def first_decision(name, context, *, seed=0, trial="t"):
    return rule(name).for_session(Draws(seed, trial))(context)


@pytest.mark.parametrize("name", ["documented", "never", "always", "p=0.3", "per-response=0.25", "p=0", "p=1"])
def test_a_rule_is_called_what_it_was_made_from(name):
    assert str(rule(name)) == name


@pytest.mark.parametrize("name", ["", "sometimes", "p=", "p=1.1", "p=-0.1", "p=nan", "per-response", "P=0.5", 7, None])
def test_no_other_name_is_taken(name):
    with pytest.raises(InputError, match="no drift rule is called"):
        rule(name)


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
