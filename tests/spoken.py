"""`kit voice` in a process of its own, talked to over the two cables of a virtual sound card."""

import asyncio
import os
import signal
import subprocess
import sys

import numpy as np

ECHO_DB, ECHO_DELAY = -10.0, 80 * 24  # of issue 4's room: dB, samples


class Terminal:
    """`kit voice`, and the lines that it prints."""

    def __init__(self, *options):
        command = [sys.executable, "-u", "-m", "kit", "voice", *options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {"NO_COLOR": "1"}
        )
        self.lines = []

    async def __aenter__(self):
        self._reading = asyncio.ensure_future(asyncio.to_thread(self._read))
        return self

    async def __aexit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        await self._reading
        self.process.stdout.close()
        self.process.wait()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    def count(self, words):
        return sum(words in line for line in self.lines)

    async def says(self, words, times=1):
        await until(lambda: self.count(words) >= times, 60)

    async def interrupted_by_ctrl_c(self):
        self.process.send_signal(signal.SIGINT)
        return await asyncio.to_thread(self.process.wait, 20)


async def until(true, limit_s=30):
    """Let the devices go on until something has happened."""
    async with asyncio.timeout(limit_s):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def loud_from(recorded, after):
    """The sample from which on the speaker is heard, after a given one."""
    heard = np.flatnonzero(recorded[after:])
    return after + int(heard[0]) if heard.size else None


def rms(samples):
    loud = samples[np.abs(samples.astype(int)) > 3].astype(float)
    return float(np.sqrt(np.mean(loud**2)))


async def reply_interrupted(cables, terminal, said, *, user_db=None):
    """Ask, and hear whether the reply is interrupted: by its echo alone, or by a user so many dB above or below it."""
    cables.echo_gain, cables.echo_delay = 10 ** (ECHO_DB / 20), ECHO_DELAY
    before, n_done = terminal.count("(interrupted)"), answered(terminal)
    asked = cables.say(said)
    await until(lambda: loud_from(cables.recorded, asked) is not None, 60)
    began = loud_from(cables.recorded, asked)
    if user_db is not None:
        await until(lambda: cables.n > began + 24_000)  # a second of the reply has been heard
        loud = rms(cables.recorded[began:]) * 10 ** ((ECHO_DB + user_db) / 20) / rms(said)
        cables.say((said * loud).clip(-32_768, 32_767).astype(np.int16))
    await until(lambda: answered(terminal) >= n_done + 1 + (user_db is not None), 60)
    await until(lambda: not np.any(cables.recorded[-12_000:]), 60)
    cables.echo_gain = 0.0
    return terminal.count("(interrupted)") > before


def answered(terminal):
    """Replies so far, by the line under each that says when its first sound came."""
    return terminal.count("first audio")
