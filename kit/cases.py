"""The test cases, as data that notebooks and the terminal share.

Reported in 2024-10 on gpt-4o-realtime-preview-2024-10-01 (kwindla/openai-realtime-test-cases), with no count of trials:
a session that is seeded with text turns may answer in text, for the rest of the session.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from . import show
from .chats import read_chat
from .errors import HistoryError, InputError, clipped
from .eventlog import read_log
from .files import named_path
from .history import History

if TYPE_CHECKING:
    from .clip import Clip
    from .wire.conversation import ConversationView

# The words are those of the original test cases: another joke would be another case.
SKELETON = "Why don't skeletons fight each other? They don't have the guts!"
SCARECROW = "Why did the scarecrow win an award? Because he was outstanding in his field!"
CLIP_NAME = "tell-me-a-joke"
JOKES = (
    SKELETON,
    SCARECROW,
    "What do you call a bear with no teeth? A gummy bear.",
    "What do you call cheese that is not yours? Nacho cheese.",
    "Why did the bicycle fall over? Because it was two tired.",
    "Why can't you trust an atom? They make up everything.",
    "How does the ocean say hello? It waves.",
    "What did one wall say to the other wall? I'll meet you at the corner.",
    "Why did the math book look so sad? It had too many problems.",
    "What do you call a sleeping bull? A bulldozer.",
    "Why did the tomato turn red? It saw the salad dressing.",
    "What has four wheels and flies? A garbage truck.",
    "Why are elevator jokes so good? They work on many levels.",
    "I used to hate facial hair, but then it grew on me.",
    "What kind of shoes does a thief wear? Sneakers.",
    "What do you get when you cross a snowman with a vampire? Frostbite.",
    "What is an alligator in a vest? An investigator.",
    "Which tree fits in your hand? A palm tree.",
    "What did the zero say to the eight? Nice belt.",
    "Why is six afraid of seven? Because seven ate nine.",
)
# More turns than this are hours of talk. A hostile plan names a case, too.
_MOST_TIMES = 100
# What Python can call a case: `cases.one_b` is the case "1b".
_SHORT = {
    "one_a": "1a",
    "one_b": "1b",
    "two_a": "2a",
    "two_b": "2b",
    "system_only": "system",
    "text_first": "text-first",
    "audio_first": "audio-first",
    "tools": "tools",
}


@dataclass(frozen=True, slots=True)
class Case:
    """A history, and the user turns that follow the first reply.

    Attributes:
        name: What it is asked for by, such as ``1b``.
        history: Seeded before the first response; its last item is the user's turn.
        reported: The modality that was reported for the first reply: ``audio``, ``text``, or ``unknown``.
        turns: Further user turns (text or a `Clip`), each asked after the reply to the one before.
        note: What was reported, in words.
    """

    name: str
    history: History
    # By people, without a count: what an instrument can be compared with, and no expectation of the model.
    reported: str = "unknown"
    turns: tuple[str | Clip, ...] = ()
    note: str = ""

    def then(self, *turns: str | Clip) -> Case:
        """Add user turns that are asked one by one, to see whether a drift stays: ``1b+2`` asks twice more."""
        if turns:
            History().user(*turns)  # refuses what is neither text nor a clip
        # The name says how many turns there are, so that a ledger of "1b+4" needs no look into its plan.
        stem = self.name.rpartition("+")[0] if self.turns else self.name
        return replace(self, name=f"{stem}+{len(self.turns) + len(turns)}", turns=(*self.turns, *turns))

    @classmethod
    def from_chat(cls, file: str | Path, *, line: int = 0, ask_again: int = 0) -> Case:
        """Make a case of your own: a file of Chat Completions messages, up to the last user turn, which is to be answered.

        Args:
            file: JSON, a list of messages or an object with ``messages``; or JSON Lines, with one of these or one message per
                line.
            line: Which conversation of a JSON Lines file, from 0.
            ask_again: How many of the last user turns are not seeded but asked one by one, each after the model's own reply to
                the one before (what the file says was replied to them is left out).
        """
        if not isinstance(file, str | Path):
            raise HistoryError(
                f"{clipped(file, 40)} is no path; for messages: Case(name, History.from_chat(messages), 'unknown')"
            )
        for name, n in (("line", line), ("ask_again", ask_again)):
            if not isinstance(n, int) or isinstance(n, bool) or n < 0:
                raise HistoryError(f"{name} is a whole number of at least 0, not {clipped(n)}")
        path = named_path(file, error=HistoryError)
        messages = read_chat(path, line)
        users = [n for n, message in enumerate(messages) if message.get("role") == "user"]
        if len(users) <= ask_again:
            roles = ", ".join(dict.fromkeys(clipped(message.get("role")) for message in messages)) or "none"
            raise HistoryError(
                f"{path} has {len(users)} turns of role 'user' (its roles: {roles}); {ask_again + 1} needed"
            )
        try:
            # Seeded is what ends with the turn that is answered first. The turns to ask are read by the same importer,
            # so that they have the words that a seeded turn would have.
            history = History.from_chat(messages[: users[-1 - ask_again] + 1])
            user_items = [item for item in History.from_chat(messages[: users[-1] + 1]) if item.role == "user"]
        except HistoryError as exc:
            raise HistoryError(f"{path}: {exc}") from exc
        name = path.stem if not line else f"{path.stem}:{line}"
        dropped = [message for message in messages[users[-1 - ask_again] + 1 :] if message.get("role") == "assistant"]
        n_dropped = f"{len(dropped)} later message{'s' * (len(dropped) != 1)}"
        left_out = [f"{n_dropped} of the assistant left out"] if dropped else []
        note = "; ".join([f"from {path.name}", *left_out, *history.notes])
        turns = tuple(item.text for item in user_items[len(user_items) - ask_again :])
        return cls(name, history, "unknown", turns, note=note)

    @classmethod
    def from_log(cls, file: str | Path, *, session: int = 0, reply: int = 1) -> Case:
        """Make a case of a recorded session: its conversation as it was when a reply began.

        What was spoken is seeded as its transcript. Items of which the log has no words are left out, and counted in `note`.

        Args:
            file: A log that `kit.read_log` reads, such as one that the relay wrote.
            session: Which of its sessions, from 0; those of GPT-Live come after those of Realtime.
            reply: Before which reply of the session, from 1. What that came as becomes `reported`.
        """
        sessions = read_log(file).all
        if not 0 <= session < len(sessions):
            raise HistoryError(f"{file} has {len(sessions)} sessions, counted from 0; there is no {session}")
        recorded = sessions[session]
        if not 1 <= reply <= len(recorded.responses):
            raise HistoryError(f"session {session} of {file} has {len(recorded.responses)} replies, not {reply}")
        entries = recorded.items_before(reply)
        history = History.from_events([entry for entry in entries if entry is not None]).with_transcripts()
        if not history:
            raise HistoryError(f"nothing that could be seeded came before reply {reply} of session {session} of {file}")
        modality, n_left = recorded.responses[reply - 1].modality, entries.count(None)
        note = f"as recorded in {Path(file).name}" + (f"; {n_left} items without words are left out" if n_left else "")
        name = f"{Path(file).stem}:{session}:{reply}"
        return cls(name, history, modality if modality in ("audio", "text") else "unknown", note=note)

    def __repr__(self) -> str:
        turns = f" and {len(self.turns)} turns" if self.turns else ""
        return f"<Case {self.name}: {len(self.history)} items{turns}, reported: {self.reported}>"

    def _repr_html_(self) -> str:
        reported = f"reported: {show.outline(self.reported)}" if self.reported in show.COLOURS else ""
        turns = [f"“{show.esc(turn, 200)}”" if isinstance(turn, str) else "(a clip)" for turn in self.turns]
        return show.card(
            f"<b>case {show.esc(self.name)}</b> {reported} {show.esc(self.note)}",
            self.history._repr_html_(),
            f"asked after the reply to this, one by one: {', '.join(turns)}" if turns else "",
        )


def outcome(*sessions: tuple[Case, ConversationView]) -> show.Words:
    """Say what cases came to beside what was reported, one session each."""
    sentences = []
    for case, session in sessions:
        if not session.responses:
            raise InputError(f"case {case.name} has no reply yet: await session.respond()")
        words = f"Case {case.name}: **{session.responses[0].modality}** (reported: {case.reported})"
        texts, n = sum(r.modality == "text" for r in session.responses), len(session.responses)
        sentences.append(words + (f", and {texts} of {n} replies in that session were text." if n > 1 else "."))
    # One that is simulated is enough: a mixture is no measurement.
    simulated = any(session.simulated for _, session in sessions)
    origin = "simulated by the stand-in's rule" if simulated else "measured"
    return show.Words(" ".join(sentences) + f" This was {origin}, and it is one session each.")


# What was reported of 1b and 2b (wire/README.md, The four cases).
_STICKY = "text only, for the rest of the session"


# Made when first asked for: some read a clip from disk, and importing the kit reads none.
@cache
def _named() -> dict[str, Case]:
    from .clip import Clip

    clip, asks = Clip.named(CLIP_NAME), History().user("Tell me a joke.")
    one_b = asks.assistant(SKELETON).user("Another one, please.")
    two_a = History().user(clip).assistant(SKELETON).user("Tell me another joke.")
    two_b = two_a.assistant(SCARECROW).user("That was hilarious. One more, please.")
    system = History().system("You tell short jokes.").user("Tell me a joke.")
    text_first = asks.assistant(SKELETON).user(clip)
    audio_first = History().user(clip).assistant(SKELETON).user("Tell me a joke.")
    tools = (
        asks.function_call("find_joke", {"about": "skeletons"}, "call_1")
        .function_output(json.dumps({"joke": SKELETON}), "call_1")
        .assistant(SKELETON)
        .user("Another one, please.")
    )
    cases = (
        Case("1a", asks, "audio"),
        Case("1b", one_b, "text", note=_STICKY),
        Case("2a", two_a, "audio"),
        Case("2b", two_b, "text", note=_STICKY),
        Case("system", system, "text", note="a system item is enough (openai-realtime-api-beta #58, 2024-10)"),
        Case("text-first", text_first, "text", note="the same words as audio-first"),
        Case("audio-first", audio_first, "audio", note="audio is kept for one pair (2a, 2024-10)"),
        Case("tools", tools, "unknown", note="a call, its output, and an assistant turn as text"),
    )
    return {case.name: case for case in cases}


def growing(n_turns: Iterable[int] = (2, 4, 8, 16, 40)) -> list[Case]:
    """Make histories of growing length, else alike: user and assistant by turns, all text, then the user asks once more.

    Reported: "more history, more likely" (livekit/agents #1143, 2024-11).

    Args:
        n_turns: How many turns come before the last one: even numbers from 0 to 40.
    """
    grown = []
    for n in n_turns:  # each a joke of its own: forty of the same would be a history that a model answers otherwise
        if not isinstance(n, int) or isinstance(n, bool) or n % 2 or not 0 <= n <= 2 * len(JOKES):
            raise InputError(
                f"growing histories have an even number of turns from 0 to {2 * len(JOKES)}, not {clipped(n)}"
            )
        history = History().user("Tell me a joke.")
        for joke in JOKES[: n // 2]:
            history = history.assistant(joke).user("Another one, please.")
        grown.append(Case(f"{n} turns", history, "text" if n else "audio", note="more history, more likely"))
    return grown


@cache
def histories() -> tuple[Case, ...]:
    """Return forty histories of 2 to 20 turns before the user's last: plain customer-service, tutoring and small-talk dialogues, and
    the test cases 1b and 2b. For a rate over histories, not over two of them."""
    text = (Path(__file__).parent / "histories.txt").read_text(encoding="utf-8")
    cases = []
    # A block: the name in brackets, then a line for each turn, the user's first.
    for block in text.split("\n[")[1:]:
        name, *lines = [line for line in block.splitlines() if line]
        history = History()
        for n, line in enumerate(lines):
            history = history.assistant(line) if n % 2 else history.user(line)
        cases.append(Case(name.rstrip("]"), history, "unknown"))
    return (*cases, case("1b"), case("2b"))


def case(name: str) -> Case:
    """Return the case of that name: ``1a 1b 2a 2b``, ``system``, ``text-first``, ``audio-first``, ``tools``, or ``8 turns`` (`growing`).
    ``1b+4`` asks four times more after the first reply, and so with any of them.
    """
    cases = _named()
    key = name.lower() if isinstance(name, str) else ""
    stem, plus, times = key.partition("+")
    if plus and times.isdecimal() and 1 <= int(times) <= _MOST_TIMES:
        return case(stem).then(*["One more, please."] * int(times))
    count, _, word = key.partition(" ")
    if word == "turns" and count.isdecimal():
        return growing([int(count)])[0]
    if key not in cases:
        raise InputError(
            f"no case is called {clipped(name)}; there are {', '.join(cases)}, '8 turns' (0 to 40), and each with more turns, such as "
            f"1b+4 (1 to {_MOST_TIMES}); a history becomes one by Case('mine', history)"
        )
    return cases[key]


def all_cases() -> Iterator[Case]:
    """Return the four cases that were reported in 2024-10, in order."""
    return iter(map(case, ("1a", "1b", "2a", "2b")))


def __getattr__(name: str) -> Case:
    """Return ``cases.one_a`` … ``cases.two_b``, made when first used, since case 2 reads a clip."""
    short = _SHORT.get(name)
    if short is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return case(short)


def __dir__() -> list[str]:
    return sorted([*globals(), *_SHORT])  # so that completion offers the cases that are not made yet
