"""``cases``, ``case``, ``chat``, ``voice``: a session in a terminal."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.text import Text

from .. import show
from ..audio import LiveVoice, Microphone, Speaker, Voice, devices
from ..audio.echo import EchoCanceller, echo_cancellation_installed
from ..audio.playback import response_of
from ..cases import Case, all_cases, case
from ..clip import Clip
from ..connecting import connect
from ..errors import InputError, KitError, MissingExtra
from ..live import LiveSession
from ..session import Session
from ..standin import prepare_hearing
from ..trials.plan import first_ask
from ..wire.events import Event, dict_of, text_of
from ..wire.live_conversation import Reply
from ..wire.records import Response
from .options import SESSION, Verbs, access, add_verb, seconds, stand_in, until_stopped
from .screen import (
    Columns,
    badge,
    complain,
    console,
    draw_response,
    first_content,
    in_flags,
    keep_sound,
    only_the_instrument,
    say,
)

_PROMPT_HELP = "type a turn · /clip FILE says a sound file · /events lists the events · /quit or Ctrl-D ends"
_PACE = 1.25  # of the stand-in in `voice`: a little ahead of the ear, as services are, so that it can be interrupted
_BAR = 24  # characters of the microphone's level


def _connect(args: argparse.Namespace, **options: Any) -> connect:
    where = {name: getattr(args, name) for name in ("model", "dialect", "protocol", "call_id")}
    return connect(args.endpoint, **where, **access(args), **options, **stand_in(args))


async def _cases(args: argparse.Namespace) -> int:
    columns = Columns((4, 5, 8, 10, 14))
    columns.row("case", "items", "reported", "arrived", "first", "it says")
    n_failed, where = 0, ""
    for chosen in all_cases():
        about = (chosen.name, str(len(chosen.history)), chosen.reported)
        try:
            async with _connect(args, quiet=True, trial=f"case {chosen.name}") as session:
                response = await _play(session, chosen, args)
                keep_sound(response, args.wav)
                mark = only_the_instrument(session.simulated)
                where = f"{session.endpoint.name}, {session.model}, {session.spoken}{mark}"
        except InputError:  # a missing key or an unknown endpoint is the same for every case
            raise
        except KitError as exc:
            n_failed += 1
            columns.row(*about, badge("failed"), "–", in_flags(exc))
        else:
            columns.row(*about, badge(response.modality), first_content(response), response.words or "")
    if where:
        say(f"\n{where}", "dim")
    return 1 if n_failed else 0


async def _talk(args: argparse.Namespace) -> int:
    start = case(args.name) if "name" in args else None  # `chat` has none
    async with _connect(args) as session:
        if start is not None:
            say(f"case {start.name}, reported: {start.reported}", "italic")
            columns = Columns((2, 9))
            for n, item in enumerate(start.history):
                clip = next((part.clip for part in item.parts if part.clip), None)
                sound = f" (a clip of {clip.duration_ms / 1000:.1f} s)" if clip else ""
                columns.row(str(n), item.role or item.type, item.text + sound)
            draw_response(await _play(session, start, args), args.wav)
        async for turn in _turns(args, session, piped=start is None):
            try:
                response = await session.ask(turn, timeout_s=args.timeout)
            except (InputError, MissingExtra) as exc:
                complain(exc, 2)
                continue
            draw_response(response, args.wav)
    return 0


async def _play(session: Session | LiveSession, chosen: Case, args: argparse.Namespace) -> Response | Reply:
    if isinstance(session, Session):
        await session.seed(chosen.history)
        return await session.respond(timeout_s=args.timeout)
    # Nothing orders GPT-Live to answer the last line of a history: it is asked aloud, as trials do.
    history, question = first_ask(chosen.history, keep=False)
    await session.seed(history)
    return await (session.respond() if question is None else session.ask(question, timeout_s=args.timeout))


async def _turns(args: argparse.Namespace, session: Session | LiveSession, *, piped: bool) -> AsyncIterator[str | Clip]:
    """What the user says next: `--say`, then what is typed, or with `piped` what standard input holds."""
    for words in args.say:
        say(f"you: {words}")
        yield words
    prompt: Any = None
    if sys.stdin.isatty():
        from prompt_toolkit import PromptSession

        say(_PROMPT_HELP, "dim")
        prompt = PromptSession()
    elif not piped or args.say:
        return
    while True:
        if prompt is not None:
            try:
                line = (await prompt.prompt_async("you: ")).strip()
            except (EOFError, KeyboardInterrupt):
                return
        elif line := sys.stdin.readline():
            line = line.strip()
            if line:
                say(f"you: {line}")
        else:  # the end of what was piped in
            return
        if line in ("/quit", "/exit"):
            return
        if line == "/events":
            say(repr(session.events))
        elif line.startswith("/clip"):
            try:
                clip = Clip.load(line.removeprefix("/clip").strip())
            except InputError as exc:
                complain(exc, 2)
            else:
                yield clip
        elif line.startswith("/"):
            say(_PROMPT_HELP, "dim")
        elif line:
            yield line


async def _voice(args: argparse.Namespace) -> int:
    if args.devices:
        print(repr(devices()))
        return 0
    face_of = _LiveFace if _connect(args).protocol == "live" else _Face
    async with contextlib.AsyncExitStack() as stack:
        # Devices first: a session that cannot be heard should not be paid for.
        microphone = await stack.enter_async_context(Microphone(args.input))
        speaker = await stack.enter_async_context(Speaker(args.output))
        settings = await face_of.prepare(args)
        session = await stack.enter_async_context(_connect(args, settings=settings))
        canceller = None
        half_duplex, install = _half_duplex(args), 'pip install "realtime-history-kit[echo]"'
        if half_duplex:
            how = "--full-duplex" if args.half_duplex or echo_cancellation_installed() else install
            about_echo = f"half-duplex: you are not heard while it speaks (to interrupt it: {how})"
        elif args.no_echo_cancellation:
            about_echo = "echo cancellation off: wear headphones"
        elif not echo_cancellation_installed():
            about_echo = f"no echo cancellation ({install}): wear headphones"
        else:
            canceller = EchoCanceller(far_rate_hz=speaker.rate_hz)
            speaker.on_played = canceller.far
            about_echo = "echo cancellation on: you can interrupt it"
        face = face_of(session, wav=args.wav, every_event=args.show_events)
        options: dict[str, Any] = {"half_duplex": half_duplex, "canceller": canceller, "on_event": face.take}
        face.voice = voice = face_of.voice_of(session, microphone, speaker, **options)
        voice.on_interrupted = face.cut_off
        face.say(f"microphone: {microphone.device.name} · speaker: {speaker.device.name} · {about_echo}")
        await asyncio.sleep(0)  # what the devices' threads have handed over meanwhile
        microphone.clear()  # what came before the prompt is not meant for the model
        face.say("speak; Ctrl-C ends")
        talking = asyncio.create_task(voice.run())
        stopping = asyncio.create_task(until_stopped())
        try:
            with face.moving_line():
                tasks = {talking, stopping}
                done, _ = await asyncio.wait(tasks, timeout=args.seconds, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if talking in done:
                talking.result()  # raises what ended it
        finally:
            face.summary()  # also of a talk that a device or the server ended
    return 0


def _half_duplex(args: argparse.Namespace) -> bool:
    """As asked; else only where nothing takes the model's voice out of what the microphone hears."""
    if args.half_duplex is not None:
        return bool(args.half_duplex)
    return args.no_echo_cancellation or not echo_cancellation_installed()


class _Face:
    """What the terminal shows: a line for each turn, and one that moves: the microphone's level and the last event."""

    # Tens a second: the line that moves would show nothing else.
    _DULL: tuple[str, ...] = ("input_audio_buffer.append",)
    voice_of: type[Voice] = Voice

    @staticmethod
    async def prepare(args: argparse.Namespace) -> dict[str, Any] | None:
        """Load what would hold up the sound, before anybody talks; returns the session's settings."""
        simulated = args.endpoint == "standin"
        if simulated:
            await asyncio.to_thread(prepare_hearing)
        writer = args.transcribe or ("whisper-1" if simulated else None)  # the stand-in's costs nothing
        return {"transcription": {"model": writer}} if writer else None

    def __init__(self, session: Any, *, wav: Path | None, every_event: bool) -> None:
        self.voice: Voice | None = None
        self._session = session
        self._console = console()
        self._wav = wav
        self._every_event = every_event
        self._last, self._n_last = "", 0

    def say(self, words: str, style: str = "dim") -> None:
        self._console.print(Text(show.plain(words), style=style))

    def moving_line(self) -> AbstractContextManager[object]:
        """Draw the line that moves, in a terminal, for as long as this is entered."""
        if not sys.stdout.isatty():
            return contextlib.nullcontext()
        return Live(get_renderable=self._line, console=self._console, refresh_per_second=12, transient=True)

    def _line(self) -> Text:
        level = self.voice.level if self.voice else 0.0
        # From −60 dB to full scale.
        full = round(_BAR * max(0.0, min(1.0, 1 + 20 * math.log10(max(level, 1e-5)) / 60)))
        state = "speaking " if self.voice and self.voice.sink.playing else "listening"
        times = f" ×{self._n_last}" if self._n_last > 1 else ""
        line = Text(f"{state} ▕{'█' * full}{' ' * (_BAR - full)}▏ {self._last}{times}", style="dim")
        line.truncate(max(self._console.width - 1, 20))
        return line

    def take(self, event: Event) -> None:
        """One event of the session."""
        if event.type in self._DULL and not self._every_event:
            return
        arrow = "←" if event.direction == "server" else "→"
        name = f"{arrow} {show.one_line(event.type, 70)}"
        self._n_last = self._n_last + 1 if name == self._last else 1
        self._last = name
        if self._every_event and self._n_last == 1:
            self.say(f"{event.at_ms / 1000:8.2f} s {name}")
        if event.type == "error":
            self.say(f"the server says: {show.plain(self._session.errors[-1])}", "red")
        self._turn(event)

    def _turn(self, event: Event) -> None:
        """A line for whatever a turn brings."""
        if event.type == "input_audio_buffer.speech_started" and self.voice and self.voice.sink.playing:
            self.cut_off()
        elif event.type == "conversation.item.input_audio_transcription.completed":
            self.say(f"you: {show.plain(event.data.get('transcript', '')).strip()}", "bold")
        elif event.type == "response.done":
            response = response_of(self._session, text_of(dict_of(event.data, "response"), "id"))
            if response is not None:
                draw_response(response, self._wav, self._console)

    def cut_off(self) -> None:
        """The user spoke over a reply."""
        self.say("   (interrupted)")

    def summary(self) -> None:
        """What was said, what was lost, and where the time went."""
        assert self.voice is not None  # it was given before it ran
        interruptions = self.voice.playback.interruptions
        cuts = [cut.audio_end_ms for interruption in interruptions for cut in interruption.truncations]
        n = len(self._session.responses)
        words = f"{n} replies" if n != 1 else "1 reply"
        if cuts:
            words += f", interrupted after {', '.join(f'{cut / 1000:.2f} s' for cut in cuts)}"
        dropped = ", ".join(f"{name} {count}" for name, count in self.voice.dropped.items())
        self.say(f"\n{words} · frames dropped: {dropped}")
        self.say(repr(self.voice.latency))
        if mark := show.origin_word(self._session.simulated):
            self.say(f"{mark}: this shows the instrument, not how fast a model is")


class _LiveFace(_Face):
    """The same for GPT-Live, whose turns are inferred: a reply is shown when it is over."""

    _DULL = ("session.output_audio.delta", "session.input_audio.append")
    voice_of = LiveVoice
    _n_shown = 0  # replies

    @staticmethod
    async def prepare(args: argparse.Namespace) -> dict[str, Any] | None:
        args.pace = None  # its clock is the microphone's: the stand-in, which knows recorded lines only, runs as fast as the wall
        return None

    def _turn(self, event: Event) -> None:
        fold = self._session.conversation
        while self._n_shown < len(fold.replies) and fold.replies[self._n_shown].ended:
            if words := fold.caller_of_each()[self._n_shown]:
                self.say(f"you: {show.plain(words)}", "bold")
            draw_response(fold.replies[self._n_shown], self._wav, self._console)
            self._n_shown += 1


def _device(text: str) -> int | str:
    return int(text) if text.isdigit() else text


def add(verbs: Verbs) -> None:
    """Add these verbs to the command line."""
    add_verb(verbs, "cases", _cases, "play the four test cases, a row each", *SESSION, "wav")
    one_case = add_verb(verbs, "case", _talk, "play one case, then go on by typing", *SESSION, "wav", "say")
    names = ", ".join(chosen.name for chosen in all_cases())
    one_case.add_argument("name", help=f"{names}, system, tools, '8 turns', 1b+4, …")
    add_verb(verbs, "chat", _talk, "talk by typing, without a history", *SESSION, "wav", "say")
    pace = {"default": _PACE, "help": f"let the stand-in speak at FACTOR times real time (default: {_PACE})"}
    about = "talk with this machine's microphone and speaker"
    voice = add_verb(verbs, "voice", _voice, about, *SESSION, "wav", pace=pace)
    add = voice.add_argument
    add("--devices", action="store_true", help="list the microphones and speakers, and end")
    add("--input", type=_device, metavar="DEVICE", help="microphone: a number or part of a name")
    add("--output", type=_device, metavar="DEVICE", help="speaker: a number or part of a name")
    # Full duplex with the extra: on a real-time virtual card the reply's echo at −10 dB interrupted none of its replies, and the
    # user was heard over it (benchmarks/voice_echo.py --card).
    duplex = voice.add_mutually_exclusive_group().add_argument
    half = "mute the microphone while the model speaks (default without the extra 'echo')"
    full = "speak to interrupt it (default with the extra 'echo'; without it wear headphones)"
    duplex("--half-duplex", action="store_true", default=None, help=half)
    duplex("--full-duplex", dest="half_duplex", action="store_false", help=full)
    add("--no-echo-cancellation", action="store_true", help="leave the echo in what is sent")
    add("--transcribe", metavar="MODEL", help="have the server write down what you say (a service charges for it)")
    add("--show-events", action="store_true", help="print a line for every event")
    add("--seconds", type=seconds, metavar="S", help="end after this long")
