"""A notebook in real Chromium with a microphone that says what a WAV file says, and words for using it."""

import json
from contextlib import contextmanager

import nbformat
import numpy as np
import soundfile
from browser import chromium, open_notebook, run_all

WITH_MICROPHONE = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]

# Run code in the notebook's kernel and return what it prints.
IN_KERNEL = """async code => {
  const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  const run = kernel.requestExecute({ code, store_history: false });
  let out = '';
  run.onIOPub = ({ header, content }) => {
    if (header.msg_type === 'stream') out += content.text;
    if (header.msg_type === 'error') out += `${content.ename}: ${content.evalue}`;
  };
  await run.done;
  return out;
}"""


def speech_like(seconds=4.0, rate_hz=48_000):
    """Noise below 8 kHz whose loudness wanders like speech, 1.5 s of silence round it: float, and int16 at 24 kHz."""
    import soxr

    rng = np.random.default_rng(4)
    n = int(seconds * rate_hz)
    spectrum = np.fft.rfft(rng.standard_normal(n))
    hz = np.fft.rfftfreq(n, 1 / rate_hz)
    spectrum[(hz < 100) | (hz > 7_500)] = 0
    noise = np.fft.irfft(spectrum, n)
    loudness = 0.3 + 0.7 * np.abs(np.sin(np.arange(n) * (2 * np.pi * 1.3 / rate_hz)))
    sound = noise * loudness
    quiet = np.zeros(3 * rate_hz // 2)  # opening a microphone takes a while on a busy machine
    sound = np.concatenate([quiet, 0.6 * sound / np.abs(sound).max(), quiet])
    return sound, (soxr.resample(sound, rate_hz, 24_000) * 32_768).round().astype(np.int16)


def microphone_file(path, sound, rate_hz=48_000):
    """What the fake microphone says, once."""
    soundfile.write(path, sound, rate_hz, subtype="PCM_16")
    return [*WITH_MICROPHONE, f"--use-file-for-fake-audio-capture={path}%noloop"]


def write_notebook(path, *cells):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    nbformat.write(notebook, path)


@contextmanager
def notebook(lab, root, *cells, args=(), dark=False, name="sound.ipynb"):
    """A notebook of these cells, open, with its kernel; ended with it."""
    write_notebook(root / name, *cells)
    with chromium(*args, dark=dark) as page:
        open_notebook(page, lab, name)
        try:
            yield page
        finally:
            page.evaluate("async () => { await window.jupyterapp.shell.currentWidget.sessionContext.shutdown(); }")


def run(page):
    assert run_all(page) == []


def in_kernel(page, code):
    """The JSON that `code` prints."""
    told = page.evaluate(IN_KERNEL, code)
    try:
        return json.loads(told)
    except ValueError:
        raise AssertionError(told) from None


def best_match(heard, said):
    """(correlation, lag in samples) of `said` inside `heard`, both int16 at one rate; the lag may be a fraction of a sample."""
    from scipy.signal import correlate

    a, b = heard.astype(float), said.astype(float)
    if a.size < b.size + 2:
        a = np.pad(a, (0, b.size + 2 - a.size))
    lag = int(np.argmax(correlate(a, b, mode="valid", method="fft")))
    part = a[lag : lag + b.size]
    spectrum, turns = np.fft.rfft(b), np.fft.rfftfreq(b.size)
    best = max(
        (_cosine(part, np.fft.irfft(spectrum * np.exp(-2j * np.pi * turns * f), b.size)), f)
        for f in np.linspace(-1, 1, 33)
    )
    return best[0], lag + float(best[1])


def _cosine(a, b):
    return float(np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-9))
