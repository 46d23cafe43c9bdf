"""A plan: what is in it, in which order, frozen how, and what it will take."""

from collections import Counter

import pytest

from kit import Case, Clip, History, Plan, Settings, arms, cases
from kit.endpoint import PRICES, Price
from kit.errors import EndpointError, InputError
from kit.stats import StopRule
from kit.trials.plan import estimate, worst_usd

FOUR = ["1a", "1b", "2a", "2b"]


def test_it_is_cases_by_arms_by_settings_by_repeats():
    two = [Settings(), Settings(stand_in={"drift": "never"})]
    plan = Plan(FOUR, ["as_is", "one_user_message"], 5, settings=two)

    assert plan.n_trials == len(plan.trials) == 4 * 2 * 2 * 5
    assert set(Counter(trial.cell for trial in plan.trials).values()) == {5}
    assert [trial.n for trial in plan.trials] == list(range(80))


def test_each_round_has_every_cell_once_in_an_order_of_its_own():
    plan = Plan(FOUR, ["as_is", "update_again"], 6, seed=3)

    rounds = [[trial.cell for trial in plan.trials[n : n + 8]] for n in range(0, 48, 8)]
    assert all(len(set(each)) == 8 for each in rounds)
    assert len({tuple(each) for each in rounds}) == 6
    assert [t.cell for t in plan.trials] != [t.cell for t in Plan(FOUR, ["as_is", "update_again"], 6, seed=4).trials]


def test_a_trial_has_the_same_id_whatever_else_is_in_the_plan_and_it_names_no_arm():
    small = {(t.cell, t.repeat): t.trial_id for t in Plan("1b", "as_is", 3, seed=5).trials}
    large = {(t.cell, t.repeat): t.trial_id for t in Plan(FOUR, ["as_is", "out_of_band"], 9, seed=5).trials}

    assert small.items() <= large.items()
    assert len(set(large.values())) == len(large)
    assert not any("as_is" in trial_id for trial_id in large.values())
    assert not set(small.values()) & {t.trial_id for t in Plan("1b", "as_is", 3, seed=6).trials}


def test_the_hash_is_that_of_what_is_done_and_of_nothing_else():
    plan = Plan(FOUR, repeats=2)

    assert plan.hash == Plan(tuple(FOUR), [arms.as_is], 2).hash
    changed = [
        Plan(FOUR, repeats=3),
        Plan(FOUR[:3], repeats=2),
        Plan(FOUR, "update_again", 2),
        Plan(FOUR, repeats=2, seed=1),
        Plan(FOUR, repeats=2, max_attempts=2),
        Plan(FOUR, repeats=2, timeout_s=59),
        Plan(FOUR, repeats=2, stop=0.3),
        Plan(FOUR, repeats=2, controls=1),
        Plan(FOUR, repeats=2, settings=Settings(voice="echo")),
        Plan(FOUR, repeats=2, settings=Settings(stand_in={"drift": "never"})),
    ]
    assert len({plan.hash, *(each.hash for each in changed)}) == 11


def test_the_hash_sees_the_sound_of_a_clip_but_does_not_hold_it():
    def spoken(ms):
        return Plan(Case("x", History().user(Clip.silence(ms)), "audio"), repeats=1)

    assert spoken(200).hash != spoken(300).hash
    assert len(str(spoken(20_000).describe())) < 2_000


def test_an_arm_of_ones_own_is_known_by_its_code():
    def louder(words):
        class Louder(arms.Arm):
            def asks(self, so_far):
                return {"instructions": "LOUD"} if words == "LOUD" else {"instructions": "louder"}

        return Louder

    class Louder(arms.Arm):
        def asks(self, so_far):
            return {"instructions": "quiet"}

    one, other = Plan("1b", louder("LOUD"), 1), Plan("1b", Louder, 1)
    assert one.arms[0].name == other.arms[0].name == "louder"
    assert one.hash != other.hash
    assert one.hash == Plan("1b", louder("LOUD")(), 1).hash


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda: Plan([]), "at least one case"),
        (lambda: Plan("9z"), "no case is called '9z'"),
        (lambda: Plan("1a", "shouting"), "no arm is called 'shouting'"),
        (lambda: Plan(["1a", "1a"]), "two cases are the same"),
        (lambda: Plan("1a", repeats=0), "repeats must be a whole number of at least 1, not 0"),
        (lambda: Plan("1a", repeats=2.5), "not 2.5"),
        (lambda: Plan("1a", timeout_s=0), "positive number of seconds, not 0"),
        (lambda: Plan("1a", stop=1.5), "1.5"),
        (lambda: Settings("wss://example.test/v1", price="text=4"), "price is a Price"),
        (lambda: Plan("1a", stop=StopRule(0.2, n_arms=3)), "watches 1"),
        (lambda: Plan("1a", settings="openai"), "Settings(endpoint="),
        (lambda: Plan(17), "no case is called 17"),
        (lambda: Settings(max_output_tokens=-1), "not -1"),
        (lambda: Settings("openai", stand_in={"drift": "never"}), "only the stand-in takes this"),
    ],
)
def test_what_cannot_be_a_plan_is_named(made, says):
    with pytest.raises(InputError) as caught:
        made()

    assert says in str(caught.value)


def test_an_endpoint_that_is_none_is_known_at_once_and_no_key_is_needed_to_plan():
    with pytest.raises(EndpointError):
        Settings("nowhere")
    assert "at worst" in repr(Plan("1a", settings=Settings("openai")))


# ------------------------------------------------------------------------------------------------------------ controls


def test_a_plan_that_somebody_pays_for_carries_controls_spread_over_it():
    plan = Plan("1b", repeats=30, settings=Settings("openai"), seed=1)

    roles = [trial.role for trial in plan.trials]
    assert Counter(roles) == {"measure": 30, "positive": 3, "negative": 3}
    assert {trial.modality for trial in plan.trials if trial.role == "positive"} == {"text"}
    assert all("measure" not in roles[n : n + 1] for n, role in enumerate(roles) if role != "measure")
    places = [n for n, role in enumerate(roles) if role == "positive"]
    assert places[0] < 12 <= places[1] < 24 <= places[2]


def test_the_stand_in_needs_no_controls_and_takes_them():
    assert {trial.role for trial in Plan("1b", repeats=3).trials} == {"measure"}
    assert Plan("1b", repeats=3, controls=2).n_controls == 4
    assert Plan("1b", repeats=3, settings=Settings(price=PRICES["gpt-realtime"])).n_controls == 6


# --------------------------------------------------------------------------------------------------------- what it takes


def test_the_stand_in_is_free_and_the_plan_says_what_the_service_would_cost():
    told = repr(Plan(["1b", "2b"], ["as_is", "one_user_message"], 40))

    assert "160 trials, 160 sessions" in told
    assert "free, simulated" in told
    assert "On gpt-realtime-2.1: about $" in told
    assert PRICES["gpt-realtime-2.1"].as_of in told


def test_a_url_without_a_key_is_not_called_simulated():
    told = repr(Plan("1a", repeats=2, settings=Settings("wss://host.example/v1/realtime")))

    assert "no key is sent" in told
    assert "simulated" not in told


def test_a_rehearsal_of_several_models_says_what_those_would_cost():
    names = ["gpt-realtime", "gpt-realtime-2.1-mini"]
    rehearsed, paid = (
        Plan("1a", repeats=9, settings=[Settings(on, m) for m in names], controls=0) for on in ("standin", "openai")
    )

    assert f"On OpenAI's 2 models of these names: about ${estimate(paid).usd:.2f}" in repr(rehearsed)


def test_a_price_nobody_knows_is_unpriced_and_not_zero():
    plan = Plan("1a", repeats=2, settings=Settings("openai", model="gpt-realtime-9"))

    assert estimate(plan).usd is None
    assert "unpriced" in repr(plan)
    assert worst_usd(plan.trials[0]) is None


def test_the_worst_case_is_every_reply_at_its_longest_and_nothing_cached():
    price = Price(text=(1, 0, 10), audio=(100, 0, 1_000), image=(0, 0))
    (trial,) = Plan("1a", repeats=1, controls=0, settings=Settings(price=price, max_output_tokens=500)).trials

    usd = worst_usd(trial)

    assert 500 * 1_000 / 1e6 <= usd <= 500 * 1_000 / 1e6 + 0.02  # text and a second of sound come on top


def test_the_worst_case_grows_with_turns_and_with_what_an_arm_may_ask_again():
    def worst(case, arm):
        return worst_usd(Plan(case, arm, 1, settings=Settings("openai"), controls=0).trials[0])

    assert worst("1b+4", "as_is") > 5 * worst("1b", "as_is")
    assert 2 * worst("1b", "as_is") < worst("1b", "delete_and_retry") < 6 * worst("1b", "as_is")
    assert worst_usd(Plan("1b", repeats=1).trials[0]) == 0


async def test_no_reply_of_the_stand_in_costs_more_than_its_worst_case(tmp_path):
    from kit import run

    price = PRICES["gpt-realtime-2.1"]
    every = [each.name for each in arms.all_arms() if not each.expects]
    plan = Plan(["1b", "2b", "tools", "8 turns", "1b+4"], every, 1, settings=Settings(price=price), controls=1)
    ledger = await run(plan, tmp_path / "worst.sqlite", budget_usd=100, progress=None)

    rows = ledger.rows("SELECT cost_usd, reserved_usd, cost_estimated FROM attempts")
    assert len(rows) == len(plan.trials)
    assert all(0 < row["cost_usd"] < row["reserved_usd"] and not row["cost_estimated"] for row in rows)


@pytest.mark.parametrize(
    ("stand_in", "said"),
    [
        ({"drift": "sometimes"}, "no drift rule is called 'sometimes'"),
        ({"faults": ["flood@p=0.1"]}, "no fault is called 'flood'"),
        ({"faults": ["drop@p=0.7", "stall@p=0.7"]}, "1.4 together"),
        ({"falts": []}, "a stand-in takes drift, .*, not falts"),
    ],
)
def test_what_no_stand_in_can_do_is_said_when_it_is_planned(stand_in, said):
    with pytest.raises(InputError, match=said):
        Settings(stand_in=stand_in)


def test_faults_are_part_of_a_plan_and_of_its_settings_name():
    calm, bad_day = Plan("1a"), Plan("1a", settings=Settings(stand_in={"faults": ["drop@p=0.1"]}))

    assert calm.hash != bad_day.hash
    assert bad_day.settings[0].name == "standin gpt-realtime drift=documented fault=drop@p=0.1"


def test_a_plan_shows_itself_as_a_table():
    html = Plan(FOUR, stop=0.2, seed=7)._repr_html_()

    for words in ("1a, 1b, 2a, 2b", "as_is", "order by seed 7", "known to ±10 points", "standin gpt-realtime"):
        assert words in html


def test_a_foreign_case_name_cannot_break_out_of_the_page():
    html = Plan(Case("<script>", History().user("hi"), "audio"), repeats=1)._repr_html_()

    assert "<script>" not in html


# ---------------------------------------------------------------------------------------------------------------- cases


def test_growing_histories_differ_in_length_alone():
    grown = cases.growing([0, 2, 40])

    assert [len(each.history) for each in grown] == [1, 3, 41]
    assert not any(each.history.lint() for each in grown)
    with pytest.raises(InputError, match="even number of turns from 0 to 40, not 3"):
        cases.growing([3])


def test_a_case_goes_on_with_further_turns():
    case = cases.one_b.then("One more, please.").then("And another.")

    assert case.name == "1b+2"
    assert case.turns == ("One more, please.", "And another.")


def test_a_chat_of_ones_own_is_a_case_up_to_its_last_user_turn(tmp_path):
    file = tmp_path / "support.json"
    file.write_text(
        '{"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}, '
        '{"role": "assistant", "content": "Hello!"}, {"role": "user", "content": "Help"}, '
        '{"role": "assistant", "content": "With what?"}, {"role": "user", "content": "This"}, '
        '{"role": "assistant", "content": "Sure"}]}'
    )

    whole, later = Case.from_chat(file), Case.from_chat(file, ask_again=1)

    assert (whole.name, len(whole.history), whole.turns, whole.reported) == ("support", 6, (), "unknown")
    assert (len(later.history), later.turns) == (4, ("This",))


def test_a_line_of_a_chat_file_is_picked_by_its_number(tmp_path):
    file = tmp_path / "many.jsonl"
    file.write_text('[{"role": "user", "content": "one"}]\n{"messages": [{"role": "user", "content": "two"}]}\n')

    assert [Case.from_chat(file, line=n).history.items[0].text for n in (0, 1)] == ["one", "two"]
    with pytest.raises(InputError, match="2 conversations; there is no line=5"):
        Case.from_chat(file, line=5)


def test_two_chat_files_of_one_name_are_told_what_to_do(tmp_path):
    (tmp_path / "b").mkdir()
    files = [tmp_path / "chat.json", tmp_path / "b" / "chat.json"]
    for file in files:
        file.write_text('[{"role": "user", "content": "Hi"}]')

    with pytest.raises(InputError, match=r"two cases .*'chat'; .*replace\(case, name=…\), or rename its file"):
        Plan([Case.from_chat(file) for file in files])


def test_a_message_per_line_is_one_conversation(tmp_path):
    file = tmp_path / "log.jsonl"
    file.write_text("""{"role": "user", "content": "Hi"}
{"role": "assistant", "content": [{"type": "output_text", "text": "Hello!"}]}
{"role": "user", "content": [{"type": "input_text", "text": "Help"}]}
""")

    assert [item.text for item in Case.from_chat(file).history] == ["Hi", "Hello!", "Help"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"line": 1}, "1 conversation; there is no line=1"),
        ({"line": -1}, "line is a whole number of at least 0, not -1"),
        ({"ask_again": -1}, "ask_again is a whole number of at least 0, not -1"),
        ({"ask_again": 1}, r"chat\.json: message 1 has a part that is not text"),
        ({"ask_again": 2}, "its roles: 'user'"),
    ],
)
def test_what_a_chat_file_does_not_have_is_not_guessed(tmp_path, wrong, told):
    file = tmp_path / "chat.json"
    file.write_text('[{"role": "user", "content": "Hi"}, {"role": "user", "content": [{"type": "hologram"}]}]')

    with pytest.raises(InputError, match=told):
        Case.from_chat(file, **wrong)


def test_messages_instead_of_a_file_are_told_where_to_go():
    with pytest.raises(InputError, match=r"Case\(name, History\.from_chat\(messages\), 'unknown'\)"):
        Case.from_chat([{"role": "user", "content": "Hi"}])


@pytest.mark.parametrize("text", ["", "{}", "[1]", "no json", '[{"role": "assistant", "content": "Hi"}]'])
def test_a_file_that_is_no_chat_is_an_error_that_names_it(tmp_path, text):
    file = tmp_path / "chat.json"
    file.write_text(text)

    with pytest.raises(InputError, match=r"chat\.json"):
        Case.from_chat(file)
