"""What a clip is, what becomes one, and what is refused."""

import copy
import io
import math
import os
import pickle
import struct
import tracemalloc

import numpy as np
import pytest
import soundfile
import soxr

import kit.clip
from kit.clip import MAX_MS, RATE_HZ, Clip, Provenance, clips_dir, waveform
from kit.errors import AudioFormatError, InputError


def tone(rate_hz=RATE_HZ, ms=500, hz=440, level=0.5):
    return level * np.sin(2 * np.pi * hz * np.arange(rate_hz * ms // 1000) / rate_hz)


@pytest.fixture
def clip():
    return Clip.from_float(tone())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    there = tmp_path / "clips"
    there.mkdir()
    monkeypatch.setattr(kit.clip, "clips_dir", lambda: there)
    return there


# The value


def test_a_clip_keeps_its_samples_from_whoever_made_it():
    samples = np.arange(10, dtype=np.int16)
    clip = Clip(samples)

    samples[0] = 99

    assert clip.pcm[0] == 0


def test_the_samples_of_a_clip_cannot_be_written(clip):
    with pytest.raises(ValueError, match="read-only"):
        clip.pcm[0] = 1


def test_a_clip_cannot_be_given_other_samples(clip):
    with pytest.raises(AttributeError, match="cannot assign to field 'pcm'"):
        clip.pcm = np.zeros(1, np.int16)


def test_bytes_come_back_as_they_went_in():
    data = struct.pack("<4h", 0, 1, -32768, 32767)

    assert Clip.from_pcm(data).to_bytes() == data


def test_the_loudest_float_samples_become_the_loudest_integers():
    assert Clip.from_float(np.array([-1.0, 0.0, 1.0])).pcm.tolist() == [-32768, 0, 32767]


def test_duration_is_in_milliseconds():
    assert Clip(np.zeros(36_000, np.int16)).duration_ms == 1500


def test_level_is_the_root_mean_square_below_full_scale():
    clip = Clip.from_float(tone(level=0.5))

    assert clip.level_dbfs == pytest.approx(20 * math.log10(0.5 / math.sqrt(2)), abs=0.01)


def test_level_of_a_long_clip_is_that_of_all_its_pieces():
    samples = np.random.default_rng(1).integers(-9_000, 9_000, 200_001).astype(np.int16)

    expected = 20 * np.log10(np.sqrt(np.mean((samples / 32768.0) ** 2)))

    assert Clip(samples).level_dbfs == pytest.approx(expected, abs=1e-4)


def test_silence_has_no_level():
    assert Clip.silence(100).level_dbfs == -math.inf


def test_the_most_negative_sample_counts_as_full_scale():
    assert Clip(np.array([-32768], np.int16)).peak_dbfs == 0


def test_clips_of_equal_samples_are_equal_wherever_they_came_from(clip):
    other = Clip(clip.pcm, source="microphone")

    assert (other == clip, hash(other) == hash(clip)) == (True, True)


def test_a_clip_is_not_equal_to_its_own_samples(clip):
    assert clip != clip.to_bytes()


@pytest.mark.parametrize("again", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_a_clip_can_be_copied_and_sent_to_another_process(again):
    clip = Clip(np.arange(5, dtype=np.int16), source="microphone", text="Hello.")

    other = again(clip)

    assert (other, other.provenance, other.pcm.flags.writeable) == (clip, clip.provenance, False)


# Chunks


def test_chunks_are_what_a_microphone_would_have_delivered():
    assert [len(c) for c in Clip.silence(50).chunks(20)] == [480, 480, 240]


def test_chunks_joined_are_the_clip(clip):
    assert np.array_equal(np.concatenate(list(clip.chunks())), clip.pcm)


def test_a_chunk_is_a_view_and_nothing_is_copied(clip):
    assert all(np.shares_memory(chunk, clip.pcm) for chunk in clip.chunks())


# What is made of it


def test_clips_add_up():
    whole = Clip.silence(100) + Clip.from_float(tone(ms=200))

    assert whole.duration_ms == 300


def test_added_clips_say_both_texts():
    samples = np.ones(1, np.int16)

    assert (Clip(samples, text="Hello.") + Clip(samples, text="Goodbye.")).text == "Hello. Goodbye."


def test_a_part_is_cut_by_milliseconds(clip):
    assert np.array_equal(clip.trim(100, 200).pcm, clip.pcm[2400:4800])


def test_a_part_no_longer_claims_to_say_the_whole_text():
    clip = Clip(np.ones(48_000, np.int16), text="Tell me a joke.")

    assert clip.trim(0, 500).text == ""


def test_padding_is_silence_on_either_side(clip):
    padded = clip.pad(100, 200)

    assert (padded.duration_ms, padded.trim(100, 600)) == (800, clip)


def test_quiet_ends_are_cut_and_a_little_is_kept(clip):
    assert clip.pad(400, 700).trim_silence(keep_ms=50).duration_ms == pytest.approx(600, abs=20)


# Files


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_what_is_saved_is_what_is_loaded(clip, tmp_path, name):
    assert Clip.load(clip.save(tmp_path / name)) == clip


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_provenance_survives_saving(tmp_path, name):
    origin = Provenance(
        "microphone", "Grüße, “Welt”\n你好", "2026-11-22T10:00:00Z", {"device": "USB 🎤", "rate": [1, None]}
    )
    clip = Clip(np.arange(99, dtype=np.int16), provenance=origin)

    assert Clip.load(clip.save(tmp_path / name)).provenance == origin


def test_other_programs_read_a_saved_clip(clip, tmp_path):
    info = soundfile.info(clip.save(tmp_path / "a.wav"))

    assert (info.samplerate, info.channels, info.subtype, info.frames) == (RATE_HZ, 1, "PCM_16", clip.n_samples)


def test_saving_says_where_by_an_absolute_path(clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert clip.save("a.wav") == tmp_path / "a.wav"


def test_a_failed_save_leaves_the_old_file_and_nothing_else(clip, tmp_path):
    Clip.silence(10).save(tmp_path / "a.wav")

    with pytest.raises(InputError, match="must be JSON"):
        Clip(clip.pcm, provenance=Provenance(details={"x": object()})).save(tmp_path / "a.wav")

    assert ([p.name for p in tmp_path.iterdir()], Clip.load(tmp_path / "a.wav")) == (["a.wav"], Clip.silence(10))


def test_a_stranger_s_file_is_of_kind_file_and_names_itself_without_its_folder(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(), RATE_HZ, "PCM_16")

    assert Clip.load(tmp_path / "a.wav").provenance == Provenance("file", details={"file": "a.wav"})


@pytest.mark.parametrize("comment", ["[" * 20_000, '{"realtime-history-kit": 1, "kind": 7}', "nice", '"x"', "{"])
def test_a_comment_that_is_not_ours_is_left_alone(tmp_path, comment):
    with soundfile.SoundFile(tmp_path / "a.wav", "w", RATE_HZ, 1, "PCM_16") as out:
        out.comment = comment
        out.write(tone())

    assert Clip.load(tmp_path / "a.wav").source == "file"


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_a_tone_keeps_its_pitch_and_level_at_every_rate(tmp_path, rate_hz):
    soundfile.write(tmp_path / "a.wav", tone(rate_hz), rate_hz, "PCM_16")

    middle = Clip.load(tmp_path / "a.wav").trim(100, 400).pcm / 32768

    assert np.abs(middle - tone()[2400:9600]).max() < 2e-3


def test_resampling_is_soxr_s_to_the_last_sample(tmp_path):
    noise = np.random.default_rng(2).integers(-9_000, 9_000, 600_000).astype(np.int16)  # several blocks
    soundfile.write(tmp_path / "a.wav", noise, 48_000)

    expected = soxr.resample(noise / np.float32(32768), 48_000, RATE_HZ) * 32768

    loaded = Clip.load(tmp_path / "a.wav").pcm
    assert (len(loaded), np.abs(loaded - expected).max()) == (len(expected), pytest.approx(0, abs=0.6))


def test_channels_are_averaged(tmp_path):
    soundfile.write(tmp_path / "a.flac", np.array([[0.5, 0.25]] * 1000), RATE_HZ)

    assert set(Clip.load(tmp_path / "a.flac").pcm) == {round(0.375 * 32768)}


@pytest.mark.parametrize(
    ("name", "rate_hz", "channels", "subtype", "said"),
    [
        ("a.wav", 48_000, 2, "FLOAT", "48 000 Hz stereo float → 24 000 Hz mono int16"),
        ("a.flac", 24_000, 1, "PCM_24", "24 000 Hz mono int24 → 24 000 Hz mono int16"),
        ("a.ogg", 44_100, 1, "VORBIS", "44 100 Hz mono Vorbis → 24 000 Hz mono int16"),
        ("a.wav", 8_000, 1, "ULAW", "8 000 Hz mono ulaw → 24 000 Hz mono int16"),
        ("a.wav", 24_000, 1, "PCM_16", ""),
    ],
)
def test_a_clip_says_what_was_converted(tmp_path, name, rate_hz, channels, subtype, said):
    soundfile.write(tmp_path / name, np.stack([tone(rate_hz)] * channels, axis=1), rate_hz, subtype)

    assert Clip.load(tmp_path / name).converted == said


def test_what_was_converted_is_in_the_repr(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(48_000), 48_000, "PCM_16")

    assert "48 000 Hz mono int16 → 24 000 Hz mono int16" in repr(Clip.load(tmp_path / "a.wav"))


def test_samples_that_had_to_be_clipped_are_counted(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.sign(tone(48_000)), 48_000, "PCM_16")  # overshoots when resampled

    assert "samples clipped" in Clip.load(tmp_path / "a.wav").converted


def test_bare_samples_are_taken_at_their_word(tmp_path):
    stereo = np.array([[100, 200]] * 4_800, "<i2")
    (tmp_path / "a.raw").write_bytes(stereo.tobytes())

    clip = Clip.load(tmp_path / "a.raw", rate_hz=24_000, channels=2)

    assert set(clip.pcm) == {150}


@pytest.mark.parametrize(("ending", "subtype"), [("ulaw", "ULAW"), ("PCMU", "ULAW"), ("alaw", "ALAW")])
def test_telephone_sound_needs_no_header(tmp_path, ending, subtype):
    path = tmp_path / f"phone.{ending}"
    soundfile.write(path, tone(8_000, ms=250), 8_000, subtype, format="RAW")

    bare, spelled = Clip.load(path), Clip.load(path, rate_hz=8_000, channels=1)

    assert bare == spelled and bare.duration_ms == 250
    assert bare.level_dbfs == pytest.approx(-9.03, abs=0.2)


def test_telephone_sound_of_an_unknown_law_is_refused(tmp_path):
    path = tmp_path / "phone.g711"
    path.write_bytes(bytes(2_000))

    with pytest.raises(AudioFormatError, match="name it .ulaw or .alaw"):
        Clip.load(path, rate_hz=8_000, channels=1)


def test_one_side_of_a_call_can_be_taken(tmp_path):
    soundfile.write(tmp_path / "call.wav", np.array([[0.5, 0.25]] * 1000), RATE_HZ)

    sides = [Clip.load(tmp_path / "call.wav", channel=n) for n in (0, 1)]

    assert [set(side.pcm) for side in sides] == [{16384}, {8192}]
    assert sides[1].converted == "24 000 Hz stereo int16, channel 1 → 24 000 Hz mono int16"


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF, 2_000_000_000])
@pytest.mark.parametrize("of_file", [0, 0xFFFFFFFF, 24_036])
def test_a_wav_that_was_streamed_is_read_to_its_end(tmp_path, size, of_file):
    clip, data = Clip.load(wav(tmp_path)), bytearray(wav(tmp_path).read_bytes())
    data[4:8], data[40:44] = struct.pack("<I", of_file), struct.pack("<I", size)

    assert Clip.load(written(tmp_path, "b.wav", bytes(data))) == clip


def test_an_open_file_is_read_like_its_path(tmp_path):
    assert Clip.load(io.BytesIO(wav(tmp_path).read_bytes())) == Clip.load(wav(tmp_path))


def test_a_small_file_that_unpacks_to_days_is_refused(tmp_path):
    with soundfile.SoundFile(tmp_path / "a.flac", "w", 8_000, 1, "PCM_16") as out:
        for _ in range(250):
            out.write(np.zeros(8_000 * 60, np.int16))

    with pytest.raises(AudioFormatError, match="250.0 minutes long, more than the 240"):
        Clip.load(tmp_path / "a.flac", allow_long=True)


def test_a_long_file_is_taken_when_asked_for_twice(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(4_000 * 660, np.int16), 4_000)

    assert Clip.load(tmp_path / "a.wav", allow_long=True).duration_ms == 660_000


# Refusals: one sentence that names the value and the way out


def wav(tmp_path, samples=None, rate_hz=RATE_HZ, subtype="PCM_16", name="a.wav"):
    soundfile.write(tmp_path / name, tone() if samples is None else samples, rate_hz, subtype)
    return tmp_path / name


NOISE = np.random.default_rng(3).uniform(-0.5, 0.5, 12_000)


def cut(path, n_bytes):
    path.write_bytes(path.read_bytes()[:n_bytes])
    return path


def fifo(path):
    os.mkfifo(path)
    return path


def patched(path, at, data):
    old = path.read_bytes()
    path.write_bytes(old[:at] + data + old[at + len(data) :])
    return path


def written(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    return tmp_path / name


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (
            lambda t: Clip(np.zeros((10, 1), np.float32)),
            r"expected int16 .* got float32 \(10, 1\); open .*Clip.load\(\)",
        ),
        (lambda t: Clip(np.zeros((10, 2), np.int16)), r"got int16 \(10, 2\)"),
        (lambda t: Clip(b"\0\0"), "got bytes; .*Clip.from_pcm"),
        (lambda t: Clip(np.zeros(0, np.int16)), "at least one sample, got none"),
        (lambda t: Clip.from_pcm(b""), "at least one sample, got none"),
        (lambda t: Clip.from_pcm(b"123"), "got 3 bytes, an odd number; join the pieces"),
        (lambda t: Clip.from_float(np.array([0.0, 1.5])), "sample 1 of 2 is 1.5, .* within ±1; scale it"),
        (lambda t: Clip.from_float(np.array([np.nan])), "sample 0 of 1 is nan, .* replace what is not a number"),
        (lambda t: Clip.from_float(np.array([-np.inf])), "is -inf"),
        (lambda t: Clip.from_float(np.zeros(3, np.int16)), r"expected float samples of shape \(n,\), got int16 \(3,\)"),
        (lambda t: Clip.from_float(np.zeros((3, 1))), r"got float64 \(3, 1\)"),
        (lambda t: Clip.silence(0), "0 ms holds no sample"),
        (lambda t: Clip.silence(-5), "-5 ms is not a length"),
        (lambda t: Clip.silence(math.nan), "nan ms is not a length"),
        (lambda t: Clip.silence(1e12), "minutes is longer than any clip; the limit is 10"),
        (lambda t: Clip.silence(100).pad(1e12), "longer than any clip"),
        (lambda t: Clip.silence(100).chunks(0), "a chunk of 0 ms holds no sample; 20 is usual"),
        (lambda t: Clip.silence(100).trim(50, 50), "nothing lies between 50 ms and 50 ms of a clip of 100 ms"),
        (lambda t: Clip.silence(100).trim(200), "nothing lies between 200 ms and the end"),
        (lambda t: Clip.silence(100).trim_silence(), "nothing in this clip is louder than -50 dBFS"),
        (lambda t: Clip.load(t / "none.wav"), "cannot read .*none.wav: No such file or directory; check the path"),
        (lambda t: Clip.load("x" * 300), "cannot read x.*x…: File name too long"),
        (lambda t: Clip.load(t), "it is a folder; give the path of a file"),
        (lambda t: Clip.load("/dev/null"), "null: it is a device"),
        (lambda t: Clip.load(written(t, "a.wav", b"")), r"a.wav is empty \(0 bytes\)"),
        (
            lambda t: Clip.load(cut(wav(t), 20_000)),
            r"a.wav is cut short: its header announces 24,000 bytes .* 19,956 are",
        ),
        (lambda t: Clip.load(cut(wav(t), 30)), "it is cut short: it ends before its samples begin"),
        (lambda t: Clip.load(fifo(t / "a.wav")), "it is a pipe"),
        (lambda t: Clip.load(b"RIFF"), "by the path of a sound file, not by b'RIFF'"),
        (lambda t: Clip.load(wav(t, np.stack([tone()] * 2, 1)), channel=2), "no channel 2; it has 2, counted from 0"),
        (lambda t: Clip.load(cut(wav(t), 44)), "a.wav is cut short: its header announces 24,000 bytes"),
        (lambda t: Clip.load(wav(t, np.zeros(0))), "a.wav holds no samples, only a header"),
        (
            lambda t: Clip.load(patched(wav(t), 0, b"JUNK")),
            "a.wav is not a sound file that can be read .*WAV, FLAC, OGG and MP3",
        ),
        (lambda t: Clip.load(patched(wav(t), 24, struct.pack("<I", 12))), "a.wav states its rate as 12 Hz"),
        (
            lambda t: Clip.load(patched(wav(t), 40, b"\xff\xff\xff\x00")),
            "announces 16,777,215 bytes of sound and 24,000 are there",
        ),
        (lambda t: Clip.load(cut(wav(t, NOISE, name="a.flac"), 9_000)), "a.flac is "),
        (lambda t: Clip.load(written(t, "a.ogg", b"OggS" + bytes(500))), "a.ogg is not a sound file that can be read"),
        (
            lambda t: Clip.load(written(t, "a.m4a", b"hello")),
            "a.m4a is not a sound file .* ffmpeg .* samples need rate_hz",
        ),
        (
            lambda t: Clip.load(wav(t, tone() * 3, subtype="FLOAT")),
            "a.wav: a sample after 0.0 s is .*, .* scale it first",
        ),
        (lambda t: Clip.load(wav(t, tone() * np.nan, subtype="FLOAT")), "a.wav: a sample after 0.0 s is nan"),
        (lambda t: Clip.load(wav(t), rate_hz=48_000), "a.wav has a header .* leave rate_hz and channels out"),
        (
            lambda t: Clip.load(written(t, "a.raw", b"1234")),
            r"holds bare samples .* Clip.load\('a.raw', rate_hz=24_000, ch",
        ),
        (
            lambda t: Clip.load(written(t, "a.raw", b"123"), rate_hz=24_000, channels=1),
            "3 bytes, which is no whole number of int16 samples in 1 channel;",
        ),
        (lambda t: Clip.load(written(t, "a.raw", b"1234"), rate_hz=0, channels=1), "states its rate as 0 Hz"),
        (
            lambda t: Clip.load(written(t, "a.raw", b"1234"), rate_hz=24_000, channels=0),
            "cannot have 0 channels; 1 is mono",
        ),
        (lambda t: Clip.silence(1).save(t / "a.mp3"), "a.mp3 does not end in .wav or .flac"),
        (lambda t: Clip.silence(1).save(t), "it is a folder; name a file"),
        (lambda t: Clip.silence(1).save(t / "no" / "a.wav"), "no folder .* to save a.wav in; make it first"),
        (
            lambda t: Clip(np.ones(1, np.int16), text="x" * 99_999).save(t / "a.wav"),
            "a file keeps 30,000; shorten its text",
        ),
    ],
)
def test_what_cannot_be_a_clip_is_refused_in_one_sentence(tmp_path, made, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        made(tmp_path)

    assert "\n" not in str(caught.value)


def test_a_file_of_forty_minutes_is_refused_by_its_length_and_the_way_out(tmp_path):
    path = wav(tmp_path, np.zeros(4_000 * 60 * 40, np.int16), 4_000)

    with pytest.raises(AudioFormatError, match=r"a.wav is 40.0 minutes long, more than the 10 .*allow_long=True"):
        Clip.load(path)


def test_a_header_that_claims_an_absurd_length_allocates_nothing(tmp_path):
    path = wav(tmp_path, name="a.flac")
    total_samples = 2**36 - 1  # the field's largest: FLAC's STREAMINFO, 36 bits from byte 21
    patched(path, 21, bytes([path.read_bytes()[21] | 0x0F]) + (total_samples & 0xFFFFFFFF).to_bytes(4, "big"))
    tracemalloc.start()

    with pytest.raises(AudioFormatError, match=r"a.flac is 47,721.9 minutes long"):
        Clip.load(path)
    with pytest.raises(AudioFormatError, match=r"a.flac is"):
        Clip.load(path, allow_long=True)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


# The clip folder


def test_a_clip_kept_under_a_name_is_found_by_it(clip, folder):
    clip.save_as("my question")

    assert Clip.named("my question") == clip


def test_a_name_that_is_taken_is_kept(clip, folder):
    clip.save_as("mine")

    with pytest.raises(AudioFormatError, match=r"a clip named 'mine' already; .*replace=True"):
        Clip.silence(10).save_as("mine")


def test_a_name_that_is_not_there_lists_those_that_are(clip, folder):
    clip.save_as("mine")

    with pytest.raises(AudioFormatError, match="no clip is named 'yours'; there are: mine"):
        Clip.named("yours")


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/b", "a\\b", "..", ".hidden", "", "C:x", "x\0", "x" * 200])
@pytest.mark.parametrize("verb", ["named", "save_as"])
def test_a_name_that_leaves_the_folder_is_no_name(clip, folder, verb, name):
    with pytest.raises(AudioFormatError, match=r"is no name for a clip: use letters.*Clip.load"):
        Clip.named(name) if verb == "named" else clip.save_as(name)


@pytest.mark.parametrize("verb", ["named", "save_as"])
def test_a_link_out_of_the_folder_is_not_followed(clip, folder, tmp_path, verb):
    clip.save(tmp_path / "secret.wav")
    (folder / "x.wav").symlink_to(tmp_path / "secret.wav")

    with pytest.raises(AudioFormatError, match="leads out of the clip folder"):
        Clip.named("x") if verb == "named" else clip.save_as("x", replace=True)


def test_a_name_is_refused_as_it_was_given(clip, folder):
    with pytest.raises(AudioFormatError, match=r"^'a/b' is no name"):
        clip.save_as("a/b")


def test_the_clip_folder_has_the_clip_of_the_cases():
    assert Clip.named("tell-me-a-joke").text == "Tell me a joke."


def test_the_clip_folder_is_data_clips():
    assert clips_dir().parts[-2:] == ("data", "clips")


# How it shows itself


def test_a_repr_is_one_line_that_a_reader_understands():
    clip = Clip(np.full(24_000, 16384, np.int16), source="microphone", text="Tell me\na joke.")

    assert repr(clip) == "Clip(1.00 s, −6.0 dBFS, microphone, “Tell me a joke.”)"


def test_foreign_text_does_nothing_in_a_cell():
    evil = "<script>alert(1)</script>\u202e"
    clip = Clip(np.ones(1, np.int16), provenance=Provenance(evil, evil, evil), converted=evil)

    assert not {"<script", "\u202e"} & {part for part in ("<script", "\u202e") if part in clip._repr_html_()}


def test_a_card_has_the_outline_and_a_player(clip):
    shown = clip._repr_html_()

    assert ("<svg" in shown, "<audio" in shown, "0.50 s" in shown) == (True, True, True)


def test_a_long_clip_does_not_carry_all_its_sound_into_the_page():
    shown = Clip.silence(MAX_MS)._repr_html_()

    assert len(shown) < 8e6 and "the first 2 minutes" in shown


def test_an_outline_takes_the_colour_of_the_text_around_it(clip):
    assert 'stroke="currentColor"' in waveform(clip.pcm)


def test_an_outline_reaches_the_loudest_sample_and_no_further():
    drawn = waveform(np.array([0, 32767, -32768, 0], np.int16), width=8, height=100)

    assert "M3.0 -0.5V50.5" not in drawn and drawn.count("M") == 4 and "M3.0 -0.5V0.5" in drawn


def test_an_outline_of_one_sample_can_be_drawn():
    assert waveform(np.ones(1, np.int16)).count("M") == 1
