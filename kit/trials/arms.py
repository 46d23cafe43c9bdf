"""The arms: ways of handing over the same history, or of reacting when a reply comes as text.

Each is something that people did or proposed, with where it was reported and what they said came of it. None of that was
measured with a count; what is reported is why an arm is here, not what to expect. A new one takes a few lines::

    class SpeechReminder(arms.Arm):
        \"\"\"A system item that asks for speech.\"\"\"

        def history(self, history):
            return History().system("Speak aloud.") + history

A class in this file is an arm of the kit: it is known by its name in small letters, which is ``arms.NAME``, too, and its docstring
says ``Source:`` and ``Reported:``. Which arms `kit study` compares is a list of its own (`reporting/design.py`). Numbers such as M5
are only names of mitigations (wire/README.md, Countermeasures). Not here, because they are no other way of handing over a history:
asking for audio alone (what GA does in any case), other snapshots and temperatures (`Settings`), text read out by another voice,
not reconnecting.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import inspect
import json
import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from .. import show
from ..clip import Clip
from ..endpoint import Endpoint
from ..errors import InputError, clipped
from ..history import History, HistoryItem, HistoryPart
from ..live import Feed, LiveSession
from ..session import Session
from ..speech import say
from ..wire.records import Response

# Both carry messages of user, assistant and system (GPT-Live: developer) as a history.
BOTH = frozenset({"realtime", "live"})
LIVE = frozenset({"live"})


class Arm:
    """One way of handing over a history, or of reacting to a reply. Override what you need; the base changes nothing.

    A trial goes: settings → seed → after_seed → ask → (on_text → ask again) … → next user turn → ask → …

    Attributes:
        max_responses: How many responses a turn may take at most; over 1 for an arm that asks again.
        expects: The kind of failure that it foresees (``refused``), so that a report can say "as expected".
    """

    expects: ClassVar[str | None] = None
    wires: ClassVar[frozenset[str]] = frozenset({"realtime"})
    """The protocols that can carry it: ``realtime``, ``live``."""
    keeps_last_line: ClassVar[bool] = False
    """GPT-Live: the user's last line stays in the history, instead of being asked aloud."""
    forks: ClassVar[bool] = False
    """GPT-Live: what was seeded is closed, and the trial goes on in a fork of it."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Abilities of the endpoint (`kit.services.Capabilities`) without which it cannot be played."""

    @property
    def max_responses(self) -> int:
        return 1

    @property
    def name(self) -> str:
        """The class's name in small letters, with whatever was set other than by default."""
        stem = re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()
        options = ", ".join(f"{name}={value}" for name, value in self._options().items())
        return f"{stem}({options})" if options else stem

    def settings(self, history: History) -> dict[str, Any]:
        """Session settings for before the seed; ``instructions`` are added to the plan's, others replace them."""
        return {}

    def history(self, history: History) -> History:
        """What is seeded instead of the case's history. Over GPT-Live its last line, which is asked aloud, is not in it, unless the
        arm has `keeps_last_line`."""
        return history

    def turn(self, content: str | Clip) -> str | Clip:
        """What is sent instead of a later user turn."""
        return content

    async def seed(self, session: Session, history: History) -> None:
        """How it is seeded; `history` is what the method of that name gave. Later user turns come here too."""
        await session.seed(history)

    async def after_seed(self, session: Session) -> None:
        """What is done between the seed and the first response."""

    def asks(self, so_far: History) -> dict[str, Any]:
        """What each `response.create` carries, in the words of `Session.respond`; `so_far` is everything said until now."""
        return {}

    async def on_text(self, session: Session, response: Response, n_texts: int) -> bool:
        """What is done when a reply came as text, the `n_texts`-th of this turn; ``True`` asks again. The sound of replies is
        counted in trials, and not kept."""
        return False

    async def ask_aloud(self, session: LiveSession, content: Clip | None) -> None:
        """How GPT-Live is asked: by the user's line, spoken; or, where there is none, by a commentary."""
        await (session.respond() if content is None else session.ask(content))

    def unsupported(self, where: Endpoint, history: History) -> str | None:
        """Return why an endpoint cannot carry it, or ``None``. What is not known of an endpoint is tried."""
        if where.protocol not in self.wires:
            carried = ", ".join(item.name for item in all_arms(where.protocol))
            return f"{self.name} cannot be carried by {where.protocol}; there are {carried}"
        seeded = self.history(history)
        # Over Realtime the measure is drift to text, which means something only where a reply can be text.
        measured = () if where.protocol == "live" else ("answers_in_text",)
        return where.cannot(
            *measured,
            *self.needs,
            roles={item.role for item in seeded if item.role},
            with_sound=any(part.clip is not None for item in seeded for part in item.parts),
        )

    # ---------------------------------------------------------------------------------------------------- what it is

    @property
    def source(self) -> str:
        """Where it was reported, as the docstring's ``Source: … Reported: …`` tells; empty if it does not."""
        return self._report()[0]

    @property
    def reported(self) -> str:
        """What was said to have come of it: words of others, no measurement. Empty if the docstring has none."""
        return self._report()[1]

    def _report(self) -> tuple[str, str]:
        # The end of a docstring, over any lines: "Source: community 974390 (2024-10). Reported: no effect."
        match = re.search(r"Source: (.*?)\. Reported: (.*?)\.?$", " ".join((type(self).__doc__ or "").split()))
        return (match[1], match[2]) if match else ("", "")

    def describe(self) -> dict[str, Any]:
        """Return what a plan freezes: name, options, and for a custom arm a digest of its source.

        The digest covers the methods of the class and of its bases outside the kit, not functions that they call.

        Raises:
            InputError: If the source of a custom arm cannot be read.
        """
        fields: dict[str, Any] = {
            "name": self.name,
            "options": {name: repr(value) for name, value in self._options(with_defaults=True).items()},
            "max_responses": self.max_responses,
        }
        if self.expects:
            fields["expects"] = self.expects
        # The kit's own arms are named by the kit's version, which the plan freezes too.
        custom = [base for base in type(self).__mro__ if base is not object and not base.__module__.startswith("kit.")]
        digest = hashlib.sha256()
        for kind in custom:
            for name, value in sorted(vars(kind).items()):
                # A property keeps its code in `fget`, a class or static method in `__func__`.
                function = getattr(value, "fget", None) or getattr(value, "__func__", value)
                if inspect.isfunction(function) and not name.startswith("__"):
                    try:
                        # The source and not the bytecode, which differs between versions of Python.
                        value = textwrap.dedent(inspect.getsource(function))
                    except (OSError, TypeError) as exc:
                        where = "define the arm in a file or a notebook cell"
                        raise InputError(f"the source of {function.__qualname__} cannot be read; {where}") from exc
                # Class attributes, such as a default, decide what is sent, too.
                elif name.startswith("_"):
                    continue
                digest.update(repr((kind.__qualname__, name, value)).encode())
        if custom:
            fields["code"] = digest.hexdigest()[:16]
        return fields

    def _options(self, *, with_defaults: bool = False) -> dict[str, Any]:
        kind: Any = type(self)
        if not dataclasses.is_dataclass(kind):
            # A plain class takes options in an `__init__` of its own: nothing tells their defaults.
            return dict(vars(self))
        fields = dataclasses.fields(kind)
        return {f.name: value for f in fields if (value := getattr(self, f.name)) != f.default or with_defaults}

    def __repr__(self) -> str:
        line = (type(self).__doc__ or "").strip().partition("\n")[0]
        return f"<Arm {self.name}{': ' * bool(line)}{line}>"

    def _repr_html_(self) -> str:
        facts = [
            f"{name}: {_linked(text)}" for name, text in (("source", self.source), ("reported", self.reported)) if text
        ]
        return show.card(f"<b>arm {show.esc(self.name)}</b> {show.esc(self._line())}", *facts)

    def _line(self) -> str:
        """What it does, without the number that only this file and wire/README.md know it by."""
        line = (type(self).__doc__ or "").strip().partition("\n\n")[0]
        words = re.sub(r" \((?:M\d+|GPT-Live A\d+)(, M\d+)*\)", "", " ".join(line.split()))
        return re.sub(r"`+([^`]+)`+", r"\1", words)


class Arms(list[Arm]):
    """A list of arms that a notebook shows as a table."""

    def _repr_html_(self) -> str:
        rows = [[f"<code>{show.esc(a.name)}</code>", show.esc(a._line()), _linked(a.reported)] for a in self]
        return show.table(rows, ["arm", "what it does", "reported"])


def _linked(text: str) -> str:
    """The text as HTML. Issues of a repository that is named by owner and name are links; a sample: ``livekit/agents PR #1121, #2015``."""
    repository = ""

    def link(match: re.Match[str]) -> str:
        nonlocal repository
        repository = match[1] or repository
        url = f"https://github.com/{repository}/issues/{match[2]}"
        return f'<a href="{url}">{match[0]}</a>' if repository else match[0]

    return re.sub(r"(?:\b([\w.-]+/[\w.-]+) ?)?(?:PR )?#(\d+)", link, show.esc(text))


# ------------------------------------------------------------------------------------------- another shape of the history


class AsIs(Arm):
    """The history as it is: user and assistant turns as text items. The baseline.

    Source: community 968293 (2024-10), openai-realtime-api-beta #72; test cases 1 and 2 (2024-10). Reported: text only.
    """

    wires = BOTH


class OneUserMessage(Arm):
    """The whole history packed into one user message, with a framing (M8).

    Source: latent.space article (late 2024); pipecat's realtime adapter packs a history so since 2024-10. Reported: works.
    """

    wires = BOTH

    def history(self, history: History) -> History:
        # There is no past to pack: the one line is what is answered.
        if len(history) <= 1:
            return history
        turns = json.dumps([{"who": _speaker(item), "said": item.text} for item in history], ensure_ascii=False)
        return History().user(f"{_PACKED_BEFORE}\n{turns}\n{_PACKED_AFTER}")


# The framing's words are the kit's own; the arm is that every turn is in one user message.
_PACKED_BEFORE = "What follows is the conversation that we have had so far, oldest turn first, as JSON."
_PACKED_AFTER = "That is where we stopped. Go on from there: answer the last thing that the user said."


class UserMessagesWithLabels(Arm):
    """Every earlier turn as a user message that begins with who said it (M9).

    Source: community 974390 (2024-10). Reported: the only mitigation found; "more reliable", not certain.
    """

    wires = BOTH

    def history(self, history: History) -> History:
        def labelled(item: HistoryItem) -> HistoryItem:
            # Labelling it would replace the user's voice by a text, which is another arm.
            is_audio = any(part.clip for part in item.parts)  # a user's audio is a user message already
            return item if is_audio else _message("user", f"[{_speaker(item).capitalize()}] {item.text}")

        return History((*map(labelled, history.items[:-1]), *history.items[-1:]))


class HistoryInInstructions(Arm):
    """All turns but the last go into the session's instructions; only the last is an item (M10).

    Source: recommended in threads (2024-10 to 2025). Reported: no figure found.
    """

    wires = BOTH

    def settings(self, history: History) -> dict[str, Any]:
        earlier = "\n".join(f"{_speaker(item)}: {item.text}" for item in history.items[:-1])
        return {"instructions": f"The conversation so far:\n{earlier}"} if earlier else {}

    def history(self, history: History) -> History:
        # The last turn stays an item, so that there is something to answer.
        return History(history.items[-1:])


class AssistantAsSystem(Arm):
    """Assistant turns as system items.

    Source: derived from openai-realtime-api-beta #58 and livekit's advice (PR #1121, 2024-11) to use fewer system messages.
    Reported: a single system item is enough for text.
    """

    wires = BOTH

    def history(self, history: History) -> History:
        def to_system(item: HistoryItem) -> HistoryItem:
            return _message("system", f"Earlier you said: {item.text}") if item.role == "assistant" else item

        return History(tuple(map(to_system, history)))


@dataclass(frozen=True, repr=False)
class Summary(Arm):
    """All turns but the last two are replaced by a summary: the beginning of each, the same words in every role. As ``system``
    by default; (GPT-Live calls system developer.)

    Source: openai-cookbook, Context_summarization_with_realtime_api (2025), livekit/agents #4942. Reported: no figure; assistant
    text is said to draw the model from audio to text.
    """

    role: str = "system"
    keep: int = 2

    def history(self, history: History) -> History:
        n_old = len(history) - self.keep  # not `items[:-keep]`, which is empty for 0
        if n_old <= 0:
            return history
        summary = _message(self.role, _summary((_speaker(item), item.text) for item in history.items[:n_old]))
        return History((summary, *history.items[n_old:]))


@dataclass(frozen=True, repr=False)
class SummaryAsAssistant(Summary):
    """The same summary as an assistant's text.

    Source: openai-cookbook, an earlier Context_summarization_with_realtime_api (2024). Reported: draws the model from audio to text,
    which is why the cookbook says system today.
    """

    role: str = "assistant"


@dataclass(frozen=True, slots=True, repr=False)
class ShortTail(Arm):
    """Only the last messages, beginning with a user's, and the user's last line (GPT-Live A1).

    Source: lukacf/meerkat (2026-10). Reported: 0 of 22 silent with at most four messages, 14 of 48 with nine to fourteen.
    """

    wires: ClassVar[frozenset[str]] = BOTH

    n: int = 4

    def history(self, history: History) -> History:
        items = history.items
        tail = list(items[-self.n - 1 :] if items and items[-1].role == "user" else items[-self.n :])
        while len(tail) > 1 and tail[0].role != "user":
            tail.pop(0)
        return History(tuple(tail))


class SpokenUserTurns(Arm):
    """User turns as audio, spoken by the kit's own voice (M7, M14). Needs recorded lines (`kit.speech.repertoire`) or the
    extra ``tts``.

    Source: test case 2 (2024-10); openai-realtime-console #464. Reported: audio survives one assistant text, not two.
    """

    def history(self, history: History) -> History:
        def spoken(item: HistoryItem) -> HistoryItem:
            if item.role != "user":
                return item
            parts = (HistoryPart(clip=say(part.text)) if part.text is not None else part for part in item.parts)
            return HistoryItem("message", "user", tuple(parts))

        return History(tuple(map(spoken, history)))

    def turn(self, content: str | Clip) -> str | Clip:
        return say(content) if isinstance(content, str) else content


class AssistantAudio(Arm):
    """Assistant turns as `output_audio` with a transcript (M13): what an agent's own dump looks like.

    Source: openai-agents-js #963 (2026-02). Reported: refused by the server, which is recorded as such.
    """

    expects = "refused"

    def history(self, history: History) -> History:
        def with_audio(item: HistoryItem) -> HistoryItem:
            if item.role != "assistant":
                return item
            part = HistoryPart(wire_type="output_audio", extra=(("transcript", item.text),))
            return HistoryItem("message", "assistant", (part,), item.fields)

        return History(tuple(map(with_audio, history)))

    async def seed(self, session: Session, history: History) -> None:
        # The kit would refuse it first; here the server's refusal is the result (wire/README.md, The defect).
        await session.seed(history, check=False)


class OneAtATime(Arm):
    """Each item is confirmed before the next is sent, instead of all at once.

    Source: the 2024 test-case scripts sent items one second apart. Reported: nothing; it shows whether pace matters.
    """

    async def seed(self, session: Session, history: History) -> None:
        if history.lint(session.dialect):
            await session.seed(history)  # says what is wrong with it; item by item an output would miss its call
        for item in history:
            await session.seed(History((item,)), check=False)


# ---------------------------------------------------------------------------------------------- something after the seed


@dataclass(frozen=True, repr=False)
class SilentAudio(Arm):
    """A user item of silence after the history (M5).

    Source: livekit/agents PR #1121 (2024-11), as part of its recovery. Reported: partial.
    """

    silence_ms: int = 1_000

    async def after_seed(self, session: Session) -> None:
        await session.seed(History().user(Clip.silence(self.silence_ms)))


class UpdateAgain(Arm):
    """After the seed, `session.update` asks for audio once more (M1).

    Source: community 974390 (2024-10). Reported: no effect.
    """

    async def after_seed(self, session: Session) -> None:
        await session.update(modality="audio")


class TextThenAudio(Arm):
    """The session is text-only while it is seeded, and asks for audio afterwards (M2).

    Source: community 974390 (2024-10), 1254337 (2025-05). Reported: no effect; a switch from text may lose the audio.
    """

    def settings(self, history: History) -> dict[str, Any]:
        return {"modality": "text"}

    async def after_seed(self, session: Session) -> None:
        await session.update(modality="audio")


class TextBeside(Arm):
    """Before the first spoken reply, the model is asked for a text beside the talk (`conversation: "none"`), as agents do for
    summaries, titles or moderation.

    Source: openai-cookbook, "Realtime out-of-band transcription" (2025) and its like. Reported: nothing; it shows whether a text
    that is no part of the talk draws the next reply into text.
    """

    async def after_seed(self, session: Session) -> None:
        await session.respond(
            conversation="none", modality="text", instructions="Name the topic of this conversation in three words."
        )


@dataclass(frozen=True, repr=False)
class Compaction(Arm):
    """In mid-call, before each further user turn: a summary goes in at the root, and all but the last items are deleted. Needs a
    case with further turns, such as ``1b+4``.

    Source: openai-cookbook, Context_summarization_with_realtime_api (2025). Reported: no figure; it says that a summary as
    assistant text draws the model from audio to text, and inserts it as system.
    """

    role: str = "system"
    keep: int = 2

    needs: ClassVar[tuple[str, ...]] = ("deletes",)

    async def seed(self, session: Session, history: History) -> None:
        # keep=0 means all items: a slice that ends at -0 would be empty.
        old = [item for item in session.items[: -self.keep or None] if item.id and item.text]
        if old:  # the first seed finds nothing
            summary = _message(self.role, _summary((item.role or "", item.text) for item in old))
            first = summary.serialize(session.dialect)
            # `Session.seed` puts items at the end; only a raw event can insert at the root (wire/README.md, Positions).
            added = asyncio.create_task(session.wait_for("conversation.item.added"))
            await asyncio.sleep(0)  # it waits before anything is sent
            await session.send({"type": "conversation.item.create", "previous_item_id": "root", "item": first})
            await added
            for item in old:
                await session.delete_item(item)
        await session.seed(history)


# ------------------------------------------------------------------------------------------------------- per response


class ModalityEachResponse(Arm):
    """Every `response.create` asks for audio by itself (M3).

    Source: community 1050576 (2024-12), 1353164 (2025-09), AVA-AI-Voice-Agent #73. Reported: "sometimes" works.
    """

    def asks(self, so_far: History) -> dict[str, Any]:
        return {"modality": "audio"}


class ForcingInstructions(Arm):
    """Instructions that insist on speech (M11).

    Source: AVA-AI-Voice-Agent #73 (2025-12), community 1353164 (2025-09). Reported: partial, or none.
    """

    def settings(self, history: History) -> dict[str, Any]:
        return {"instructions": "Always answer aloud, in audio. Never answer in writing."}


class OutOfBand(Arm):
    """Nothing is seeded: each response gets the whole history as `input`, outside the conversation (M19).

    Source: MS Q&A 5561769 (2025-09), where a reply with conversation none drifted. Reported: as a cure, untested in public.
    """

    def asks(self, so_far: History) -> dict[str, Any]:
        return {"input": so_far, "conversation": "none"}

    async def seed(self, session: Session, history: History) -> None:
        return


# --------------------------------------------------------------------------------------------------- on a text reply


@dataclass(frozen=True, repr=False)
class DeleteAndRetry(Arm):
    """Delete the text reply, add a second of silent user audio, ask again, up to five times (M5, M6).

    Source: livekit/agents PR #1121 (2024-11), #2015 (2025-04). Reported: partial; 4o-mini failed every retry (#2471), about
    0.8 s each; taken out in 2025-07 (#2628).
    """

    n: int = 5
    silence_ms: int = 1_000

    needs: ClassVar[tuple[str, ...]] = ("deletes",)

    @property
    def max_responses(self) -> int:
        # The reply that came as text, and the tries after it.
        return self.n + 1

    async def on_text(self, session: Session, response: Response, n_texts: int) -> bool:
        for item_id in response.item_ids:
            await session.delete_item(item_id)
        await session.seed(History().user(Clip.silence(self.silence_ms)))
        return True


# ------------------------------------------------------------------------------------------------ GPT-Live alone


@dataclass(frozen=True, slots=True, repr=False)
class SummaryAndTail(ShortTail):
    """What comes before the short tail is one labelled developer message: a summary, no request (GPT-Live A2).

    Source: lukacf/meerkat (2026-10), where a summary in a user message was answered by a greeting. Reported: 0 of 22 silent with at
    most four messages behind it, 14 of 48 with nine to fourteen.
    """

    def history(self, history: History) -> History:
        tail = ShortTail(self.n).history(history)
        old = history.items[: len(history) - len(tail)]
        if not old:
            return tail
        # Role and label keep it from being answered as if the user had asked something.
        text = _summary((_speaker(item), item.text) for item in old)
        return History((_message("system", f"Factual summary of what came before, not a new request. {text}"), *tail))


class PastByThinking(Arm):
    """The past as silent context after the start, in pieces of 500 tokens (GPT-Live A5).

    Source: livekit-agents 1.8.9 (2026-11), for what is added in mid-session. Reported: nothing of its effect on the voice.
    """

    wires = LIVE
    lane: ClassVar[str] = "thinking"

    async def seed(self, session: Any, history: History) -> None:
        # What is appended needs a session that runs; only the start takes `input` (wire/LIVE.md, In ten lines).
        await session.start()
        if len(history):
            await session.append_past(history, lane=self.lane)


class PastByInstructions(PastByThinking):
    """The past as trusted context after the start, in pieces of 500 tokens (GPT-Live A6).

    Source: livekit-agents 1.8.9 (2026-11), for system lines in mid-session. Reported: nothing of its effect on the voice.
    """

    lane = "instructions"


class LineAndPing(Arm):
    """The user's last line stays in the history; instructions order the answer, and once they are acknowledged a commentary
    begins it (GPT-Live A7).

    Source: promptfoo 0.123.1, provider openai:live (2026-11). Reported: that it does so; no count.
    """

    wires = LIVE
    keeps_last_line = True

    async def ask_aloud(self, session: LiveSession, content: Clip | None) -> None:
        if content is not None:
            await session.ask(content)
            return
        # Acknowledged when `append` returns, and only then is the commentary sent.
        await session.append(
            "instructions", "Answer the user's last message out loud as soon as you are told to begin."
        )
        await session.respond("Begin now.")


class Unfed(Arm):
    """No silence is fed between clips: the session's clock stands while nobody speaks (GPT-Live A10).

    Source: livekit/agents #7239 (2026-09). Reported: every ask timed out; with silence at 10 Hz it spoke after 1.6 s.
    """

    wires = LIVE
    feed: ClassVar[Feed] = "clips"

    async def seed(self, session: Any, history: History) -> None:
        # Before the seed, which starts the session and its feeder.
        session.configure(feed=self.feed)
        await session.seed(history)


class Burst(Unfed):
    """A clip and 14 s of silence after it are sent at once, and the clock runs ahead of the wall (GPT-Live A10).

    Source: a recorded session of pydantic-ai (2026-09). Reported: it speaks, at the pace of the wall.
    """

    feed: ClassVar[Feed] = "burst"


class Forked(Arm):
    """The past is seeded into a session that is stored, and asked in a fork of it: the same spoken past for each trial (GPT-Live A12).

    Source: OpenAI's guide live-conversations (2026). Reported: a fork knows what was seeded; nothing of its voice.
    """

    wires = LIVE
    forks = True

    def settings(self, history: History) -> dict[str, Any]:
        # Only a stored session can be forked (wire/LIVE.md, Connecting).
        return {"store": True}


class CommentaryPing(Arm):
    """The user's last line stays in the history, and a commentary asks for the reply (GPT-Live A8).

    Source: livekit-agents 1.8.9, aplisay/llm-agent#306, pipecat-ai 1.14.0 (2026). Reported: spoken after about 850 ms.
    """

    wires = LIVE
    keeps_last_line = True


class Nudge(Arm):
    """Where no voice came by the end of the window, a commentary asks for one (GPT-Live A11).

    Source: egma#354 (2026), after 10 s. Reported: that the product does it; no count.
    """

    wires = LIVE

    @property
    def max_responses(self) -> int:
        # The reply, and the one that the commentary asks for: what a budget has to reserve.
        return 2

    async def ask_aloud(self, session: LiveSession, content: Clip | None) -> None:
        reply = await (session.respond() if content is None else session.ask(content))
        if reply.outcome == "silent":
            await session.respond()


# ------------------------------------------------------------------------------------------------------ the namespace

# Made of the classes above and of no list, so that none can be forgotten.
_ALL: dict[str, Arm] = {
    kind().name: kind()
    for kind in list(globals().values())
    if isinstance(kind, type) and issubclass(kind, Arm) and kind is not Arm
}
globals().update(_ALL)  # arms.one_user_message, arms.summary, …
as_is = _ALL["as_is"]  # the one that the kit itself names, for the checker


def all_arms(wire: str = "realtime") -> Arms:
    """Return the arms of the kit that a protocol carries (``realtime`` or ``live``), in the order in which they stand here."""
    return Arms(item for item in _ALL.values() if wire in item.wires)


def arm(name: str | Arm | type[Arm]) -> Arm:
    """Return the arm of that name; an `Arm` is itself, and a class without options is made one.

    Raises:
        InputError: For anything else.
    """
    if isinstance(name, Arm):
        return name
    if isinstance(name, type) and issubclass(name, Arm):
        return name()
    if not isinstance(name, str) or name not in _ALL:
        raise InputError(f"no arm is called {clipped(name)}; there are {', '.join(_ALL)}")
    return _ALL[name]


# -------------------------------------------------------------------------------------------------------------- parts


def _speaker(item: HistoryItem) -> str:
    return item.role or {"function_call": "assistant called", "function_call_output": "tool"}.get(item.type, item.type)


def _message(role: str, text: str) -> HistoryItem:
    return HistoryItem("message", role, (HistoryPart(text),))


def _summary(turns: Iterable[tuple[str, str]]) -> str:
    """A summary that needs no model, so that it is the same in every trial: how each turn begins."""
    lines = [f"- {role}: {text if len(text) <= 80 else text[:79] + '…'}" for role, text in turns]
    return "\n".join(("Summary of the conversation so far:", *lines))
