"""Render the recorded repertoire again: each line of `LINES` to an Ogg Vorbis file beside this one, and ``lines.json``.

::

    pip install "realtime-history-kit[tts]"
    python -m kit.repertoire.render           # the repertoire
    python -m kit.repertoire.render --clip    # data/clips/tell-me-a-joke.wav

piper is a GPL-3 program; what it says is not GPL. The voice (en_US-joe-medium) is MIT-packaged, its data CC0. Without
noise in its synthesis, one version of piper makes the same samples each time on one machine. Run ``tests/test_speech.py``
afterwards: it measures every line and has a recogniser hear it.
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

from ..clip import RATE_HZ, Clip, Provenance, clips_dir
from ..errors import InputError
from ..speech import synthesised

FOLDER = Path(__file__).resolve().parent

# Vorbis, because it decodes in 2.5 ms where Opus takes 15 (3 s of speech), and the stand-in decodes while others wait.
# libsndfile's scale goes from 0 (best) to 1 (smallest); the recogniser of the tests hears every line even at 1
COMPRESSION = 0.9

# pace and pitch: the user is the same voice made higher and a little faster, so that two people can be told apart
VOICES = {"joke": (1.0, 1.0), "answer": (1.0, 1.0), "history": (1.0, 1.0), "user": (1.05, 1.18)}

# file name, kind, tags, text. Every word is in the dictionary of the recogniser that the tests use (CMU's).
LINES: tuple[tuple[str, str, str, str], ...] = (
    ("gummy-bear", "joke", "", "What do you call a bear with no teeth? A gummy bear."),
    ("nacho-cheese", "joke", "", "What do you call cheese that is not yours? Nacho cheese."),
    ("two-tired", "joke", "", "Why did the bicycle fall over? Because it was two tired."),
    ("atoms", "joke", "", "Why can't you trust an atom? They make up everything."),
    ("ocean", "joke", "", "How does the ocean say hello? It waves."),
    ("corner", "joke", "", "What did one wall say to the other wall? I'll meet you at the corner."),
    ("problems", "joke", "", "Why did the math book look so sad? It had too many problems."),
    ("bulldozer", "joke", "", "What do you call a sleeping bull? A bulldozer."),
    ("tomato", "joke", "", "Why did the tomato turn red? It saw the salad dressing."),
    ("garbage-truck", "joke", "", "What has four wheels and flies? A garbage truck."),
    ("elevator", "joke", "", "Why are elevator jokes so good? They work on many levels."),
    ("facial-hair", "joke", "", "I used to hate facial hair, but then it grew on me."),
    ("sneakers", "joke", "", "What kind of shoes does a thief wear? Sneakers."),
    ("hole-in-one", "joke", "", "Why did the golfer bring two pairs of pants? In case he got a hole in one."),
    ("frostbite", "joke", "", "What do you get when you cross a snowman with a vampire? Frostbite."),
    ("mugged", "joke", "", "Why did the coffee call the police? It got mugged."),
    ("investigator", "joke", "", "What is an alligator in a vest? An investigator."),
    ("gravity", "joke", "", "I am reading a book about gravity. It is impossible to put down."),
    ("virus", "joke", "", "Why was the computer late for dinner? It had caught a virus."),
    ("palm-tree", "joke", "", "Which tree fits in your hand? A palm tree."),
    ("time-fly", "joke", "", "Why did the man throw his clock out of the window? He wanted to see time fly."),
    ("boomerang", "joke", "", "What do you call a boomerang that does not come back? A stick."),
    ("nice-belt", "joke", "", "What did the zero say to the eight? Nice belt."),
    ("tank", "joke", "", "Two fish are in a tank. One says, do you know how to drive this thing?"),
    ("crummy", "joke", "", "Why did the cookie go to the nurse? It felt crummy."),
    ("pork-chop", "joke", "", "What do you call a pig that knows karate? A pork chop."),
    ("parallel-lines", "joke", "", "Parallel lines have so much in common. It is a shame they will never meet."),
    ("cheesy", "joke", "", "I would tell you a joke about pizza, but it is a little cheesy."),
    ("yolk", "joke", "", "How do you make an egg laugh? Tell it a yolk."),
    ("seven-ate-nine", "joke", "", "Why is six afraid of seven? Because seven ate nine."),
    ("greeting", "answer", "greeting", "Hello. What would you like to hear?"),
    ("stand-in", "answer", "self", "I'm a stand-in, not a language model; I only know a few jokes."),
    ("i-heard-you", "answer", "heard", "I heard you. Ask me for a joke, and I will tell you one."),
    ("remember", "answer", "history", "I remember what was said before. Shall we go on?"),
    ("tool-answered", "answer", "after-tool", "The tool has answered, and here is what it said."),
    ("tool-ask", "answer", "before-tool", "One moment, I am asking the tool."),
    ("no-words", "answer", "silence", "I heard no words. Could you say that again?"),
    ("not-understood", "answer", "unclear", "Sorry, I did not understand that."),
    ("all-right", "answer", "acknowledge", "All right, I will do that."),
    ("listening", "answer", "acknowledge", "Yes, I am listening."),
    ("welcome", "answer", "thanks", "You are very welcome."),
    ("that-was-all", "answer", "no-more", "You have heard all the jokes that I know."),
    ("counting", "answer", "long", "I can count for you. One, two, three, four, five, six, seven, eight."),
    ("goodbye", "answer", "farewell", "Goodbye. It was nice talking to you."),
    ("skeletons", "history", "", "Why don't skeletons fight each other? They don't have the guts!"),
    ("scarecrow", "history", "", "Why did the scarecrow win an award? Because he was outstanding in his field!"),
    ("tell-me-a-joke", "user", "", "Tell me a joke."),
    ("another-one", "user", "", "Another one, please."),
    ("tell-me-another", "user", "", "Tell me another joke."),
    ("that-was-hilarious", "user", "", "That was hilarious. One more, please."),
    ("one-more", "user", "", "One more, please."),
)


def say_line(text: str, kind: str) -> Clip:
    """Return a line in the voice of its kind, with a little quiet at the end so that lines do not run into one another."""
    pace, pitch = VOICES[kind]
    return synthesised(text, pace=pace, pitch=pitch).pad(20, 120)


def render() -> None:
    """Write every line and ``lines.json``; the old files go only when all lines could be spoken."""
    import soundfile

    clips = {(name, kind, tags): say_line(text, kind) for name, kind, tags, text in LINES}
    # Two recordings that are alike could not be told apart by what was heard.
    if len({f"{kind}-{name}" for name, kind, _ in clips}) < len(LINES) or len(set(clips.values())) < len(LINES):
        raise InputError("two lines share a name or a recording; every line of LINES needs its own")
    for old in FOLDER.glob("*.ogg"):
        old.unlink()
    rows, n_bytes = [], 0
    for (name, kind, tags), clip in clips.items():
        file = FOLDER / f"{kind}-{name}.ogg"
        soundfile.write(file, clip.pcm, RATE_HZ, format="OGG", subtype="VORBIS", compression_level=COMPRESSION)
        n_bytes += file.stat().st_size
        rendered = ", ".join(f"{key} {value}" for key, value in clip.provenance.details.items())
        rows.append(
            {
                "text": clip.text,
                "kind": kind,
                "tags": tags.split(),
                "file": file.name,
                "duration_ms": round(clip.duration_ms, 1),
                "rendered": rendered,
            }
        )
        print(f"{file.name:36} {clip.duration_ms:6.0f} ms {clip.level_dbfs:6.1f} dBFS {file.stat().st_size:7,} bytes")
    # A line of the file for each: a change of one recording is a change of one line.
    text = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (FOLDER / "lines.json").write_text(f"[\n{text}\n]\n", encoding="utf-8")
    print(f"{len(rows)} lines, {n_bytes:,} bytes, in {FOLDER}")


def render_clip() -> None:
    """Write the clip that the cases use, with 300 ms of silence on either side as a recording would have."""
    # Trimmed first, so that the silence is 300 ms whatever the voice leaves.
    line = say_line("Tell me a joke.", "user").trim_silence(keep_ms=0).pad(300, 300)
    source = line.provenance
    # A day and no time of day: rendered again, the file changes only if the voice does.
    when = datetime.now(UTC).date().isoformat()
    clip = Clip(line.pcm, provenance=Provenance(source.kind, source.text, when, dict(source.details)))
    path = clip.save(clips_dir() / "tell-me-a-joke.wav")
    print(f"{clip!r}\n{path}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m kit.repertoire.render", description="Render the recorded repertoire."
    )
    parser.add_argument("--clip", action="store_true", help="make data/clips/tell-me-a-joke.wav instead")
    render_clip() if parser.parse_args().clip else render()
