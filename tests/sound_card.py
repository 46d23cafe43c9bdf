"""A sound card without a sound card: JACK's dummy driver, with a loopback or with two cables of the test's own.

PortAudio on JACK is used through callbacks only: its blocking writes garble the sound. JACK runs synchronously (``-S``): it
waits for a client that is late, as the buffer of a real card does. Otherwise it goes on without it and some 10 ms of sound are
skipped or said twice, which no echo canceller can know: with both cores busy, what came back resembled what was played by 0.5
to 0.9 in some stretches, and 3 of 18 replies were interrupted by their own echo. Synchronously it is 1.00 throughout.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

RATE_HZ = 24_000
PERIOD = 240


@contextlib.contextmanager
def jack_server(log, *options):
    """A JACK server of our own, with the dummy driver; PortAudio sees only it."""
    name = f"kit{os.getpid()}"
    os.environ["JACK_DEFAULT_SERVER"] = name
    os.environ["JACK_NO_AUDIO_RESERVATION"] = "1"
    os.environ["JACK_NO_START_SERVER"] = "1"
    command = ["jackd", "-r", "-S", "-n", name, *options, "-d", "dummy", "-r", str(RATE_HZ), "-p", str(PERIOD)]
    with open(log, "wb") as out:
        server = subprocess.Popen([*command, "-C", "0", "-P", "0"], stdout=out, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 10
        probe = [sys.executable, "-c", "import jack; jack.Client('probe', no_start_server=True).close()"]
        while subprocess.run(probe, capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline and server.poll() is None, log.read_text()[-2000:]
            time.sleep(0.05)  # another process's start-up can only be asked for
        yield server
    finally:
        server.terminate()
        try:
            server.wait(3)
        except subprocess.TimeoutExpired:  # it hung once
            server.kill()
            server.wait()


def _forget_dead_servers():
    """JACK has room for eight servers in its registry, and one that was killed keeps its place for good.

    Once, before this process or one that it starts opens the registry: who has it open goes on with the old one.
    """
    if os.environ.setdefault("KIT_JACK_REGISTRY_IS_FRESH", str(os.getpid())) != str(os.getpid()):
        return
    if subprocess.run(["pgrep", "-x", "jackd"], capture_output=True, check=False).returncode:  # none is alive
        for left in Path("/dev/shm").glob("jack*"):
            # Another worker of the tests may be clearing up, too.
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


@contextlib.contextmanager
def portaudio():
    """PortAudio, looking again at what devices there are: it does that once, when it is loaded."""
    import sounddevice as sd

    while sd._initialized:
        sd._terminate()
    sd._initialize()
    try:
        yield sd
    finally:
        sd._terminate()  # and stays so while the server goes, or PortAudio fails an assertion


def installed():
    """JACK and PortAudio are there."""
    if not shutil.which("jackd"):
        return False
    try:
        import sounddevice  # noqa: F401
    except OSError:
        return False
    return True


if shutil.which("jackd"):
    _forget_dead_servers()


class Cables:
    """Two cables: what the test says goes to the device "mic", and what is played to the device "speaker" is recorded.

    Sample n of `recorded` left the speaker when sample n was put into the microphone: one clock for both.
    """

    def __init__(self):
        import jack

        self._client = jack.Client("cables", no_start_server=True)
        self._client.set_process_callback(self._process)
        # An output of ours is a microphone to everybody else, and an input of ours a speaker.
        self._mic = self._client.outports.register("mic", is_terminal=True, is_physical=True)
        self._speaker = self._client.inports.register("speaker", is_terminal=True, is_physical=True)
        self._say = np.zeros(0, np.float32)
        self._lock = threading.Lock()
        self._heard = []
        self.echo_gain, self.echo_delay = 0.0, 0
        self.n = 0
        self.n_xruns = 0
        self._client.set_xrun_callback(self._xrun)

    def __enter__(self):
        self._client.activate()
        return self

    def __exit__(self, *_):
        self._client.deactivate()
        self._client.close()

    def _xrun(self, _delay_us):
        self.n_xruns += 1

    def _process(self, frames):
        heard = self._speaker.get_array().copy()
        self._heard.append(heard)
        with self._lock:
            out = np.zeros(frames, np.float32)
            now, self._say = self._say[:frames], self._say[frames:]
        out[: now.size] = now
        if self.echo_gain:
            past = np.concatenate(self._heard[-(self.echo_delay // frames + 2) :])
            end = past.size - self.echo_delay
            out += self.echo_gain * past[end - frames : end] if end >= frames else 0
        self._mic.get_array()[:] = out
        self.n += frames

    @property
    def listened_to(self):
        """Somebody has the microphone open."""
        return self._mic.number_of_connections > 0

    def say(self, pcm):
        """Queue int16 samples for the microphone; returns the sample at which they begin."""
        with self._lock:
            begins = self.n + self._say.size
            self._say = np.concatenate([self._say, pcm.astype(np.float32) / 32_768])
        return begins

    @property
    def recorded(self):
        """What the speaker was given so far, int16."""
        heard = list(self._heard)
        return (
            (np.concatenate(heard) * 32_768).round().clip(-32_768, 32_767).astype(np.int16)
            if heard
            else np.zeros(0, np.int16)
        )
