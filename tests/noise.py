"""Speech in noise, made for measuring ears: where it begins and ends is known, and how loud it is beside what."""

import functools

import numpy as np

from kit import speech

PER_MS = 24


@functools.cache
def babble(n_voices, ms=8_000, seed=5):
    """Many people talking: the repertoire's lines, shifted in time and in pitch, all at once."""
    rng = np.random.default_rng(seed)
    clips = [speech.say(line.text).pcm.astype(float) for line in speech.repertoire("joke")]
    total = np.zeros(ms * PER_MS)
    for n in range(n_voices):
        voice = np.concatenate([clips[(n * 7 + k * (n % 5 + 1)) % len(clips)] for k in range(6)])
        voice = voice[np.arange(0, len(voice) - 1, 1 + 0.25 * rng.uniform(-1, 1)).astype(int)]
        total += np.resize(np.roll(voice, rng.integers(len(voice))), len(total))
    return total


@functools.cache
def music(ms=8_000):
    """Chords with overtones that decay, two a second."""
    t = np.arange(ms * PER_MS) / 24_000
    total = np.zeros_like(t)
    chords = [(220, 277, 330), (196, 247, 294), (175, 220, 262), (165, 208, 247)]
    for k in range(ms // 500):
        here = (t >= k * 0.5) & (t < (k + 1) * 0.5)
        since = t[here] - k * 0.5
        for pitch in chords[k % 4]:
            total[here] += sum(np.sin(2 * np.pi * pitch * h * since) / h for h in range(1, 6)) * np.exp(-3 * since)
    return total


@functools.cache
def white(ms=8_000, seed=1):
    return np.random.default_rng(seed).normal(size=ms * PER_MS)


@functools.cache
def edges_ms(text):
    """Where a recorded line begins and ends: what rises above 2 % of its loudest 10 ms."""
    envelope = np.convolve(np.abs(speech.say(text).pcm.astype(float)), np.ones(240) / 240, "same")
    loud = np.flatnonzero(envelope > envelope.max() * 0.02)
    return loud[0] / PER_MS, loud[-1] / PER_MS


def in_noise(text, noise=None, snr_db=0.0, before_ms=2_000, after_ms=2_000):
    """A line with quiet or noise round it: PCM at 24 kHz, and the truth (begin_ms, end_ms)."""
    said = speech.say(text).pcm.astype(float)
    whole = np.concatenate([np.zeros(before_ms * PER_MS), said, np.zeros(after_ms * PER_MS)])
    if noise is not None:
        under = np.resize(noise, len(whole))
        whole += under * np.sqrt((said**2).mean() / (under**2).mean()) / 10 ** (snr_db / 20)
    begin, end = edges_ms(text)
    return np.clip(whole / 2, -32768, 32767).astype("<i2").tobytes(), (before_ms + begin, before_ms + end)
