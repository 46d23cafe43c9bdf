"""The four cases are these exact histories, spelled for both dialects."""

import pytest
from building import b64

from kit import cases, connect
from kit.cases import all_cases, case
from kit.clip import Clip
from kit.errors import InputError
from kit.history import History

JOKE = "Tell me a joke."
SKELETON = "Why don't skeletons fight each other? They don't have the guts!"
SCARECROW = "Why did the scarecrow win an award? Because he was outstanding in his field!"
SPOKEN = object()  # the clip: a voice saying "Tell me a joke."

HISTORIES = {
    "1a": [("user", JOKE)],
    "1b": [("user", JOKE), ("assistant", SKELETON), ("user", "Another one, please.")],
    "2a": [("user", SPOKEN), ("assistant", SKELETON), ("user", "Tell me another joke.")],
    "2b": [
        ("user", SPOKEN),
        ("assistant", SKELETON),
        ("user", "Tell me another joke."),
        ("assistant", SCARECROW),
        ("user", "That was hilarious. One more, please."),
    ],
}


@pytest.fixture(scope="module")
def clip():
    return Clip.named("tell-me-a-joke")


@pytest.mark.parametrize(("dialect", "assistant"), [("ga", "output_text"), ("beta", "text")])
@pytest.mark.parametrize("name", HISTORIES)
def test_a_case_is_exactly_this_history(name, dialect, assistant, clip):
    def part(role, said):
        if said is SPOKEN:
            return {"type": "input_audio", "audio": b64(clip.to_bytes())}
        return {"type": assistant if role == "assistant" else "input_text", "text": said}

    expected = [{"type": "message", "role": role, "content": [part(role, said)]} for role, said in HISTORIES[name]]

    assert case(name).history.serialize(dialect) == expected


@pytest.mark.parametrize("dialect", ["ga", "beta"])
@pytest.mark.parametrize("name", HISTORIES)
def test_the_service_should_take_every_item_of_a_case(name, dialect):
    assert not case(name).history.lint(dialect)


@pytest.mark.parametrize(("name", "reported"), [("1a", "audio"), ("1b", "text"), ("2a", "audio"), ("2b", "text")])
def test_a_case_says_what_was_reported(name, reported):
    assert case(name).reported == reported
    assert ("for the rest of the session" in case(name).note) == (reported == "text")


def test_the_clip_says_that_it_asks_for_a_joke(clip):
    assert clip.text == JOKE
    assert 500 < clip.duration_ms < 5_000


def test_a_longer_case_is_a_shorter_one_and_its_turns():
    assert case("1b").history[:1] == case("1a").history
    assert case("2b").history[:3] == case("2a").history


def test_every_case_is_there_in_order_and_by_its_name():
    assert [each.name for each in all_cases()] == ["1a", "1b", "2a", "2b"]
    assert [cases.one_a, cases.one_b, cases.two_a, cases.two_b] == list(all_cases())
    assert case("2B") is case("2b")
    assert {"one_a", "two_b"} <= set(dir(cases))


@pytest.mark.parametrize(("name", "n_items", "n_turns"), [("1a+3", 1, 3), ("2b+4", 5, 4), ("8 turns+2", 9, 2)])
def test_any_case_goes_on_by_as_many_turns_as_its_name_says(name, n_items, n_turns):
    longer = case(name)

    assert (longer.name, len(longer.history), len(longer.turns)) == (name, n_items, n_turns)


@pytest.mark.parametrize("name", ["3a", "1a+0", "1a+101", "1a+2+2", "", None, 1, b"1a", ["1a"]])
def test_a_case_that_is_none_is_named_with_those_there_are(name):
    with pytest.raises(InputError) as caught:
        case(name)

    assert repr(name) in str(caught.value)
    assert "1a, 1b, 2a, 2b" in str(caught.value)


def test_a_case_that_is_none_is_no_attribute_either():
    with pytest.raises(AttributeError, match="three_a"):
        _ = cases.three_a


def test_a_case_shows_its_history_and_what_was_reported():
    page = case("2b")._repr_html_()

    assert repr(case("2b")) == "<Case 2b: 5 items, reported: text>"
    assert "case 2b" in page
    assert page.count("<audio") == 1
    assert "outstanding in his field" in page


def test_a_case_of_ones_own_shows_its_words_and_nothing_they_say():
    page = cases.Case("<b>", History().user("<i>"), "text", note="<u>")._repr_html_()

    assert "&lt;b&gt;" in page
    assert not {"<i>", "<u>"} & {page[i : i + 3] for i in range(len(page))}


async def test_the_outcome_of_cases_stands_beside_what_was_reported():
    async with connect(quiet=True) as control, connect(quiet=True) as session:
        with pytest.raises(InputError, match="no reply yet"):
            cases.outcome((cases.one_a, control))
        for case, one in ((cases.one_a, control), (cases.one_b, session)):
            await one.seed(case.history)
            await one.respond()
        await session.ask("One more, please.")

        words = cases.outcome((cases.one_a, control), (cases.one_b, session))

    assert words == (
        "Case 1a: **audio** (reported: audio). Case 1b: **text** (reported: text), and 2 of 2 replies in that session were "
        "text. This was simulated by the stand-in's rule, and it is one session each."
    )
    assert "\u00a0" not in words and "reported" in words._repr_markdown_()
