"""Microphone and speaker: their words without a card, and real PortAudio on a virtual one."""

import asyncio
import subprocess
import sys

import numpy as np
import pytest
import sound_card
from sound_in_chromium import best_match

from kit.audio import Device, Devices, Microphone, Speaker, devices, play, record_clip
from kit.audio import portaudio as portaudio_module
from kit.audio.speaker import PlayQueue
from kit.clip import Clip
from kit.errors import DeviceError, InputError, MissingExtra
from kit.widgets import Recorder

# ------------------------------------------------------------------------------------------------- what is still to be heard


def samples(*values):
    return np.array(values, np.int16).tobytes()


def pulled(queue, n, at=0.0):
    out = np.full(n, 99, np.int16)
    queue.pull(out, at)
    return out.tolist()


def test_what_is_written_is_played_in_order_without_a_gap():
    queue = PlayQueue(prebuffer=0, limit=100)
    queue.write(samples(1, 2, 3))
    queue.write(samples(4, 5))
    queue.end()

    assert pulled(queue, 4) + pulled(queue, 4) == [1, 2, 3, 4, 5, 0, 0, 0]
    assert queue.n_underruns == 0


def test_nothing_is_played_before_the_prebuffer_is_there():
    queue = PlayQueue(prebuffer=3, limit=100)
    queue.write(samples(1, 2))
    before = pulled(queue, 2)
    queue.write(samples(3))

    assert before == [0, 0] and pulled(queue, 3) == [1, 2, 3]


def test_running_dry_inside_a_reply_is_counted_and_after_it_is_not():
    queue = PlayQueue(prebuffer=0, limit=100)
    queue.write(samples(1))
    pulled(queue, 3)
    queue.write(samples(2))
    queue.end()
    pulled(queue, 3)

    assert (queue.n_underruns, queue.n_missing) == (1, 2)


def test_heard_is_what_the_converter_has_put_out():
    queue = PlayQueue(prebuffer=0, limit=1_000)
    queue.write(np.ones(480, np.int16).tobytes())
    pulled(queue, 240, at=10.0)
    pulled(queue, 240, at=10.01)

    assert [queue.heard_by(now) for now in (9.9, 10.00501, 10.01251, 11.0)] == [0, 120, 300, 480]


def test_clearing_falls_silent_and_what_was_not_taken_never_counts():
    queue = PlayQueue(prebuffer=0, limit=1_000)
    queue.write(np.ones(480, np.int16).tobytes())
    pulled(queue, 240, at=1.0)
    queue.clear()
    silent = pulled(queue, 240, at=1.01)
    queue.write(samples(7))
    queue.end()

    assert not any(silent) and queue.n_written == 241 and pulled(queue, 1, at=1.02) == [7]


def test_what_does_not_fit_is_dropped_and_counted():
    queue = PlayQueue(prebuffer=0, limit=3)
    queue.write(samples(1, 2, 3, 4, 5))

    assert queue.n_dropped == 2 and queue.n_written == 3


# ----------------------------------------------------------------------------------------------------- without a sound card


def test_importing_the_kit_and_its_devices_needs_no_portaudio():
    code = (
        "import sys; sys.modules['sounddevice'] = None\n"
        "import kit, kit.audio, kit.widgets, kit.cli\n"
        "from kit.errors import MissingExtra\n"
        "try: kit.audio.devices()\n"
        "except MissingExtra as exc: print(exc)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "pip install sounddevice" in out.stdout


def test_a_missing_portaudio_names_the_package_to_install(monkeypatch):
    import builtins

    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "sounddevice":
            raise OSError("PortAudio library not found")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)

    with pytest.raises(MissingExtra, match="sudo apt install libportaudio2"):
        devices()


def test_no_device_is_one_sentence_with_another_way(monkeypatch):
    monkeypatch.setattr(portaudio_module, "devices", lambda: Devices())

    with pytest.raises(DeviceError, match=r"no microphone .*Recorder\(\)"):
        Microphone()
    with pytest.raises(DeviceError, match=r"no speaker .*Player\(\)"):
        Speaker()


def test_an_unknown_device_is_answered_with_those_there_are(monkeypatch):
    there = Devices([Device(3, "USB Mic <x>", "ALSA", 1, 0, 48_000)])
    monkeypatch.setattr(portaudio_module, "devices", lambda: there)

    with pytest.raises(DeviceError, match="3 USB Mic"):
        Microphone("bluetooth")
    assert portaudio_module.find("usb", "input").index == 3
    assert "&lt;x&gt;" in there._repr_html_()


@pytest.mark.parametrize(
    "call",
    [
        lambda: record_clip(0),
        lambda: record_clip(float("nan")),
        lambda: record_clip(10_000),
        lambda: record_clip(5, stop_at_silence_s=0),
        lambda: Recorder().record(stop_at_silence_s=-1),
    ],
)
async def test_a_length_that_cannot_be_is_refused(call):
    with pytest.raises(InputError):
        await call()


# --------------------------------------------------------------------------------------------- real PortAudio, a virtual card

card = pytest.mark.skipif(not sound_card.installed(), reason="jackd2 or PortAudio is not installed")


@pytest.fixture(scope="module")
def jack(tmp_path_factory):
    with sound_card.jack_server(tmp_path_factory.mktemp("jack") / "log", "-L", "1") as server:
        yield server


@pytest.fixture
def loopback(jack):
    """One device: what is played comes back as what is recorded."""
    with sound_card.portaudio():
        yield


@pytest.fixture
def cables(jack):
    """Two: what the test says is the microphone, and what is played is kept."""
    pytest.importorskip("jack", reason="JACK-Client is not installed")
    with sound_card.Cables() as cables, sound_card.portaudio():
        yield cables


def tone(hz, seconds=1.0):
    return Clip.from_float(0.5 * np.sin(np.arange(int(24_000 * seconds)) * 2 * np.pi * hz / 24_000))


@card
@pytest.mark.sound_card
async def test_a_tone_comes_back_at_its_frequency_with_nothing_lost(loopback):
    for _ in range(3):  # JACK's dummy card itself skips where the machine is overloaded, and says so
        async with Speaker("loopback") as speaker:
            speaker.write(tone(440, 2).to_bytes())
            speaker.end()
            heard = await record_clip(1.5, device="loopback")
            skipped = speaker.n_device_underflows
            await speaker.drained()
        if not skipped:
            break
    inner = heard.pcm[6_000:30_000]

    assert abs(np.argmax(np.abs(np.fft.rfft(inner * np.hanning(inner.size)))) - 440) <= 4.4
    assert (speaker.n_underruns, speaker.n_dropped, skipped) == (0, 0, 0)
    assert np.abs(np.diff(inner.astype(int))).max() < 0.5 * 32_768 * 2 * np.pi * 440 / 24_000 * 1.05  # no click


@card
@pytest.mark.sound_card
async def test_play_is_over_when_the_clip_has_been_heard_and_every_sample_of_it_was(cables):
    clip = Clip.named("tell-me-a-joke")
    begun = cables.n
    await play(clip, device="cables")
    await until(lambda: cables.n > begun + clip.n_samples + 2_400)
    correlation, lag = best_match(cables.recorded[begun:], clip.pcm)

    assert correlation > 0.999
    assert 0 <= lag < 24_000


@card
@pytest.mark.sound_card
async def test_what_is_said_to_the_microphone_is_the_clip(cables):
    clip = Clip.named("tell-me-a-joke")
    recording = asyncio.ensure_future(record_clip(20, device="cables", stop_at_silence_s=0.5))
    await until(lambda: cables.listened_to)
    cables.say(clip.pcm)
    heard = await recording

    assert best_match(heard.pcm, clip.pcm)[0] > 0.99
    assert heard.duration_ms < 4_000
    assert heard.provenance.details["where"] == "kernel" and heard.provenance.when


@card
@pytest.mark.sound_card
async def test_the_recorder_records_with_the_kernels_microphone_without_a_page(cables):
    clip = Clip.named("tell-me-a-joke")
    recorder = Recorder(microphone="kernel", device="cables")
    recording = asyncio.ensure_future(recorder.record(timeout_s=20, stop_at_silence_s=0.5))
    await until(lambda: cables.listened_to)
    cables.say(clip.pcm)
    heard = await recording

    assert best_match(heard.pcm, clip.pcm)[0] > 0.99
    assert heard.provenance.details["where"] == "kernel" and recorder.clip is heard


@card
@pytest.mark.sound_card
async def test_stopping_is_silence_at_once_and_the_heard_samples_are_those_that_came_out(cables):
    async with Speaker("cables") as speaker:
        speaker.write(tone(300, 3).to_bytes())
        speaker.end()
        await until(lambda: speaker.n_heard > 12_000)
        heard = await speaker.stop()
        stopped = cables.n
        await until(lambda: cables.n > stopped + 4_800)
        sound = np.flatnonzero(np.abs(cables.recorded.astype(int)) > 300)
        came_out = sound[-1] - sound[0]

        assert abs(came_out - heard) < 24 * 60  # within 60 ms
        assert not speaker.playing


@card
@pytest.mark.sound_card
async def test_a_rate_that_the_device_refuses_is_resampled(cables, monkeypatch):
    monkeypatch.setattr("kit.audio.microphone.RATE_HZ", 16_000)  # the card runs at 24 000 only: a kit that wants 16 000
    heard = b""
    async with Microphone("cables") as microphone:
        cables.say(tone(440, 2).pcm)
        async for block in microphone:
            heard += block.pcm
            if len(heard) > 2 * 20_000:
                break
    inner = np.frombuffer(heard, np.int16)[4_000:20_000]

    assert microphone.rate_hz == 24_000
    assert abs(np.argmax(np.abs(np.fft.rfft(inner * np.hanning(inner.size)))) - 440) <= 5


@card
@pytest.mark.sound_card
async def test_a_slow_reader_loses_blocks_and_they_are_counted(cables):
    async with Microphone("cables", max_waiting_ms=60) as microphone:
        await until(lambda: microphone.n_dropped > 4_800)
        block = await anext(aiter(microphone))

    assert block.first == 0 and len(block.pcm) == 960


async def until(true, limit_s=20):
    """Let the device's own thread go on until something has happened."""
    async with asyncio.timeout(limit_s):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.sound_card
def test_a_device_that_goes_away_is_a_sentence_and_no_hang(tmp_path):
    """In a process of its own: PortAudio does not survive the end of its server."""
    if not sound_card.installed():
        pytest.skip("jackd2 or PortAudio is not installed")
    code = f"""
import asyncio, os, pathlib, sys
sys.path.insert(0, {str(sound_card.__file__).rsplit("/", 1)[0]!r})
import sound_card
from kit.audio import Microphone, Speaker
from kit.errors import DeviceError
from kit.clip import Clip
async def main(server):
    async with Microphone() as microphone, Speaker() as speaker:
        n = 0
        try:
            async for block in microphone:
                n += 1
                if n == 10:
                    server.kill()
        except DeviceError as exc:
            print(exc, flush=True)
        speaker.write(Clip.silence(500).to_bytes()); speaker.end()
        try:
            await speaker.drained()
        except DeviceError as exc:
            print(exc, flush=True)
        os._exit(0)
with sound_card.jack_server(pathlib.Path({str(tmp_path / "log")!r}), "-L", "1") as server, sound_card.portaudio():
    asyncio.run(main(server))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)

    assert "the microphone 'loopback' is gone" in out.stdout
    assert "the speaker 'loopback' is gone" in out.stdout
    assert "Traceback" not in out.stderr
