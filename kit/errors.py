"""What can go wrong, by what you can do about it.

::

    KitError
    ├── InputError (also ValueError)    a value that the kit cannot use; nothing was sent
    │   ├── AudioFormatError            sound that a Clip cannot hold
    │   ├── HistoryError                items that the service would refuse; `.findings` names each
    │   ├── EndpointError               an address that is none, a missing key, or a key that would go out in the clear
    │   └── LedgerError                 a file that is not the ledger of this plan; it is left as it is
    ├── MissingExtra (also ImportError) an optional library or system package is not installed
    ├── DeviceError                     a microphone or speaker that is missing, refuses, or went away
    ├── LocalProtocolError              the session cannot do now what it was asked to do; nothing was sent
    ├── RemoteProtocolError             the server sent something that is not a Realtime event
    ├── ConnectError                    no session came about
    │   ├── Unreachable                 nothing answered at the address
    │   └── HandshakeRefused            the service answered and refused; `.code` and `.close_code` say why
    ├── ServerError                     the service refused a request: the API's ``error`` event
    │   └── SeedRefused                 the request was an item of a history; `.accepted` lists what went in
    ├── SessionClosed                   the socket closed during a wait; `.tail` has the last events
    └── ResponseTimeout                 (also TimeoutError) a reply did not come in time; `.tail` has the last events

Every error keeps its facts in fields and builds its sentence from them: what happened, with which value, and what to
try next. No message holds a key, an authorization header or whole audio, and no control character of a server's words
reaches a terminal.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any, Self

# What moves a terminal's cursor or reorders what is read: C0 and C1 controls but tab and line break, bidirectional overrides.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Return foreign text with its control characters shown as code points: ``‹U+001B›``."""
    return _CONTROL.sub(lambda match: f"‹U+{ord(match[0]):04X}›", text)


def clipped(value: object, limit: int = 80) -> str:
    """Return the ``repr`` of a value, cut so that a megabyte of base64 cannot end up in a message."""
    # Cut first: the `repr` of a hundred megabytes would be made to be thrown away.
    text = repr(value[: limit * 4]) if isinstance(value, str | bytes) else repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


class KitError(Exception):
    """Base of everything that the kit raises on purpose.

    A notebook shows its sentence alone; after ``%xmode Verbose`` (or any other mode) the whole traceback.
    """

    # IPython calls this, where an exception has it, in place of its own traceback.
    def _render_traceback_(self) -> list[str]:
        return _rendered(self, type(self).__name__, str(self))

    def __copy__(self) -> Self:
        """Return the same error without a traceback.

        Where an error is kept (`Session.errors`), a copy is raised: a traceback keeps the frames that it names, and with
        them the session, which would then never be collected.
        """
        error = type(self).__new__(type(self), *self.args)  # not by `__init__`, whose arguments are keywords
        error.__dict__.update(self.__dict__)
        return error


class InputError(KitError, ValueError):
    """A value that the kit cannot use; nothing was sent."""


class AudioFormatError(InputError):
    """Sound that is not mono int16 at 24 000 Hz and cannot safely be converted."""


class HistoryError(InputError):
    """A history with items that the service would refuse.

    Attributes:
        findings: What `History.lint` found, in order; each has ``index``, ``message``, ``param`` and ``advice``.
    """

    def __init__(self, message: str, findings: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.findings = tuple(findings)


class EndpointError(InputError):
    """An endpoint without a usable address or key, or to which the key would go in the clear."""


class LedgerError(InputError):
    """A file that is not the ledger of this plan: another plan's, another version's, damaged, or in use by another runner.

    It is never overwritten.
    """


class MissingExtra(KitError, ImportError):
    """A missing optional library or system package; the sentence says how to install it."""


class DeviceError(KitError):
    """A microphone or speaker that is missing, refuses, went away, or that a page may not open."""


class LocalProtocolError(KitError):
    """A call that the session cannot carry out now (the caller's mistake; nothing was sent)."""


class RemoteProtocolError(KitError):
    """A frame that is not a Realtime event.

    Attributes:
        head: The first characters of the frame.
    """

    def __init__(self, problem: str, head: str = "") -> None:
        super().__init__(problem, head)
        self.problem = problem
        self.head = head  # enough to recognise it by: a frame may be megabytes of audio

    def __str__(self) -> str:
        return f"{self.problem}; the frame begins {clipped(self.head)}" if self.head else self.problem


class ConnectError(KitError):
    """No session came about."""


class Unreachable(ConnectError):
    """Nothing answered at the address. The kit never falls back to the stand-in by itself."""


class HandshakeRefused(ConnectError):
    """The service answered and refused the session.

    OpenAI accepts the upgrade (101) even with a wrong key, sends one ``error`` event and closes with 3000
    (authentication) or 4000 (request shape); Azure refuses the upgrade with an HTTP status.

    Attributes:
        code: The API's error code, such as ``invalid_api_key``; ``None`` if it named none.
        message: The service's own words.
        close_code: 3000 or 4000, or the HTTP status if the upgrade itself was refused.
        advice: What to try next.
    """

    def __init__(self, *, code: str | None, message: str, close_code: int | None, advice: str = "") -> None:
        super().__init__(code, message, close_code, advice)
        self.code = code
        self.message = message
        self.close_code = close_code
        self.advice = advice

    def __str__(self) -> str:
        named = f"{self.code}, " if self.code else ""
        sentence = f"the service refused the connection ({named}{self.close_code}): {self.message} {self.advice}"
        return printable(sentence.rstrip())  # the words are the service's, and may hold anything


class ServerError(KitError):
    """The service refused a request: the API's ``error`` event.

    Attributes:
        type, code, message, param: As the API sent them; ``None`` if it sent none.
        event_id: The id of the client event that caused it, if the service named one.
        caused_by: The type of that event, such as ``conversation.item.create``.
    """

    def __init__(
        self,
        *,
        type: str | None,
        code: str | None,
        message: str,
        param: str | None = None,
        event_id: str | None = None,
        caused_by: str | None = None,
    ) -> None:
        super().__init__(type, code, message, param, event_id, caused_by)
        self.type = type
        self.code = code
        self.message = message
        self.param = param
        self.event_id = event_id
        self.caused_by = caused_by

    def __str__(self) -> str:
        where = f" at {self.param}" if self.param else ""
        cause = f" (caused by our {self.caused_by})" if self.caused_by else ""
        return printable(f"{self.code or self.type or 'error'}{where}: {self.message}{cause}")


class SeedRefused(ServerError):
    """The service refused an item of a history, so the conversation is not the one that was asked for.

    Attributes:
        index: Which item of the history (from 0).
        accepted: Indexes of the items that are in the conversation now.
        not_accepted: Indexes of the items that are not: refused, or never confirmed.
    """

    def __init__(self, *, index: int, accepted: Sequence[int], not_accepted: Sequence[int], error: ServerError) -> None:
        fields = ("type", "code", "message", "param", "event_id", "caused_by")
        super().__init__(**{name: getattr(error, name) for name in fields})
        self.index = index
        self.accepted = tuple(accepted)
        self.not_accepted = tuple(not_accepted)

    def __str__(self) -> str:
        indexes = ", ".join(map(str, self.accepted)) or "none"
        return (
            f"item {self.index} of the history was refused ({super().__str__()}); in the conversation are items: {indexes}. "
            "Mend the history (history.lint() names each fault) and seed it again, which sends only what is missing, "
            "or go on with what is there: respond(partial=True)."
        )


class _WithTail(KitError):
    """Base of the errors that carry the events before them.

    Attributes:
        sentence: What happened, without the events.
        tail: The last events, oldest first.
    """

    def __init__(self, sentence: str, tail: Sequence[Any] = ()) -> None:
        super().__init__(sentence, tuple(tail))
        self.sentence = sentence
        self.tail = tuple(tail)

    def __str__(self) -> str:
        if not self.tail:
            return printable(f"{self.sentence}; no event had come")
        # Three of up to twenty: a sentence that can be read at a glance.
        last = ", ".join(str(getattr(event, "type", event)) for event in self.tail[-3:])
        return printable(f"{self.sentence}; the last events were {last} (all kept in .tail)")


class SessionClosed(_WithTail):
    """The socket is closed.

    Attributes:
        code: The close code; 1006 if the connection broke without one.
        reason: The server's reason, often empty.
    """

    def __init__(self, sentence: str, *, code: int | None, reason: str = "", tail: Sequence[Any] = ()) -> None:
        super().__init__(sentence, tail)
        self.code = code
        self.reason = reason


# A `TimeoutError` as well: what was written for `asyncio.timeout` catches it.
class ResponseTimeout(_WithTail, TimeoutError):
    """A reply or a confirmation did not come in time."""


def first_error(group: BaseExceptionGroup[Any]) -> BaseException:
    """The first error of a group that is not a group itself; an interrupt goes before an error."""
    errors = [first_error(e) if isinstance(e, BaseExceptionGroup) else e for e in group.exceptions]
    # KeyboardInterrupt and CancelledError are no `Exception`: what ends the program goes first.
    return next((e for e in errors if not isinstance(e, Exception)), errors[0])


# ------------------------------------------------------------------------------------------------- what a notebook shows of them


def _rendered(error: BaseException, name: str, sentence: str) -> list[str]:
    """What IPython shows of an error: one sentence, or the whole traceback where the reader has chosen another ``%xmode``."""
    shell = _shell()
    if shell is not None and shell.InteractiveTB.mode != "Context":  # IPython's default
        lines: list[str] = shell.InteractiveTB.structured_traceback(type(error), error, error.__traceback__)
        return lines
    return [f"\x1b[31m{name}\x1b[0m: {sentence}"]  # red, as IPython prints the name of any error


def _shell() -> Any:
    """IPython's shell, or ``None`` where it does not run."""
    ipython = sys.modules.get("IPython")  # not imported: where it is not loaded, no shell runs
    return ipython.get_ipython() if ipython else None


def show_interrupts_in_one_sentence() -> None:
    """Have IPython show an interrupted ``await`` of the kit as one sentence, not as the kit's own source; and a name that a cell
    needs and no cell has made yet as one that says so.

    Only where the program has set no handler of its own; an interrupt of other code is shown as ever.
    """
    shell = _shell()
    if shell is None or shell.custom_exceptions:
        return
    import asyncio
    import traceback

    def handler(
        shell: Any, kind: type[BaseException], error: BaseException, tb: Any, tb_offset: int | None = None
    ) -> Any:
        # Modules that the traceback goes through: the reader's own loop is interrupted as ever.
        walked = [frame for frame, _ in traceback.walk_tb(tb)]
        frames = [frame.f_globals.get("__name__", "") for frame in walked]
        in_a_cell = bool(walked) and walked[-1].f_locals is shell.user_ns  # not in a function
        if isinstance(error, NameError) and in_a_cell:
            sentence = f"{error}: run the cells above first, if one of them makes it; else look at its spelling."
            lines = _rendered(error, "NameError", sentence)
        elif not any(name == "kit" or name.startswith("kit.") for name in frames):
            lines = shell.InteractiveTB.structured_traceback(kind, error, tb, tb_offset=tb_offset)
        else:
            sentence = "run this cell again to go on; the cells below may need what it makes."
            lines = _rendered(error, "Interrupted", sentence)
        # With a handler of one's own, IPython shows nothing by itself.
        shell._showtraceback(kind, error, lines)
        return lines

    shell.set_custom_exc((asyncio.CancelledError, KeyboardInterrupt, NameError), handler)
