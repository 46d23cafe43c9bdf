"""Take secrets out of text before it reaches the disk.

Three rules, one after the other:

* **values**: what this session sent as key, organisation or project, wherever the server repeats it;
* **shapes**: what looks like a secret wherever it stands: ``sk-…``, ``ek_…``, ``Bearer …``, ``org-…``, JSON web tokens, a key in
  a URL;
* **names**: the value of a field called ``authorization``, ``api_key``, ``cookie``, ``client_secret`` and the like, also inside
  JSON that is itself a string (a tool's arguments).

Not caught: a secret that somebody *says* (it comes a token at a time), or one of your own that looks like any other word. For
those there is a hook: ``connect(log=…, redact=function)``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import msgspec

MARK = "[redacted]"
_MARK = MARK.encode()

Hook = Callable[[dict[str, Any]], Mapping[str, Any] | None]
"""A function of the user's: takes an event, returns the event to keep; ``None`` keeps nothing but that it was there."""

MIN_SECRET_CHARS = 6
"""Anything shorter is no secret, and taking it out would tear words apart."""

_NAMES = (
    "authorization", "proxy-authorization", "x-api-key", "api-key", "api_key", "apikey", "openai-organization",
    "openai-project", "organization_id", "project_id", "set-cookie", "cookie", "client_secret", "access_token", "refresh_token",
    "id_token", "password", "secret",
)  # fmt: skip
_HEADER = "|".join(re.escape(name) for name in _NAMES)
_NAME_MARKERS = "authoriz key org proj cookie secret access_token refresh_token id_token passw"


def _rule(markers: str, pattern: str, replacement: str) -> tuple[set[bytes], re.Pattern[bytes], bytes]:
    return set(markers.encode().split()), re.compile(pattern.encode(), re.IGNORECASE), replacement.encode()


# Markers, expression, replacement. Whatever an expression matches holds one of its markers in small letters. Most frames hold no
# marker at all, and looking for a few bytes costs a tenth of any expression.
_RULES = [
    # "client_secret": {…} and a tool's "headers": {…}, the whole object
    _rule("secret headers", r'("(?:client_secret|headers)"\s*:\s*)\{[^{}]*\}', rf'\1"{MARK}"'),
    # "name": "value", also with its quotes escaped, as in JSON inside a string
    _rule(_NAME_MARKERS, rf'(\\*["\'](?:{_HEADER})\\*["\']\s*:\s*\\*["\'])(?!\[redacted\])[^"\'\\]+', rf"\1{MARK}"),
    _rule("k- xai-", r"\b(?:sk|xai|rk|pk)-[\w*-]{6,}", MARK),  # API keys; the service itself shows them with stars
    _rule("ek_", r"\bek_\w{6,}", MARK),  # ephemeral keys
    _rule("org proj", r"(?:\b|_)(?:org|proj)[-_](?=\w*\d)\w{8,}", MARK),  # organisations and projects
    _rule("bearer basic", r"\b(?:Bearer|Basic)\s+[\w.~+/=-]{6,}", MARK),
    _rule("eyj", r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*", MARK),  # JSON web tokens
    _rule("__cf_bm", r'\b__cf_bm=[^;"\\\s]+', MARK),  # the cookie of OpenAI's front door
    # name: value, as headers are printed
    _rule(_NAME_MARKERS, rf"\b((?:{_HEADER})\s*[:=]\s*)(?!\[redacted\])[^\s\"'\\,;{{\[]+", rf"\1{MARK}"),
    _rule("=", r"([?&](?:api[-_]?key|key|token|access_token|sig|signature|code|secret)=)[^&\"'\\\s#]+", rf"\1{MARK}"),
    _rule("@", r"(\w://)[^/@\s\"'\\]+@", rf"\1{MARK}@"),  # user and password in a URL
]  # fmt: skip
_MARKERS = sorted({marker for markers, _, _ in _RULES for marker in markers})
# A frame is searched in small letters, and without the bytes that no marker has (digits, quotes, braces): a third of JSON.
_SMALL = bytes.maketrans(bytes(range(65, 91)), bytes(range(97, 123)))
_IN_NO_MARKER = bytes(set(range(256)) - {byte for marker in _MARKERS for byte in marker + marker.upper()})
_ESCAPED = re.compile(rb"\\u00[2-7]|\\/")  # an ASCII character written as an escape, which no expression would see


class Redactor:
    """Take secrets out of frames. One is made for each connection, of the key that was sent.

    Args:
        secrets: Values that must not be kept, wherever they stand: the key, organisation and project.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: tuple[bytes, ...] = ()  # every spelling, the longest first: one may be the beginning of another
        self.add(*secrets)

    def add(self, *secrets: str) -> None:
        """Add values that must not be kept. Those below `MIN_SECRET_CHARS` are passed over."""
        spellings = {form for secret in secrets if len(secret) >= MIN_SECRET_CHARS for form in _spellings(secret)}
        self._secrets = tuple(sorted({*self._secrets, *spellings}, key=len, reverse=True))

    @property
    def is_empty(self) -> bool:
        """Whether no value is known to it, so that it goes by the shape of secrets alone."""
        return not self._secrets

    def __repr__(self) -> str:
        return f"<Redactor of {len(self._secrets)} spellings>"  # never the values

    def __call__(self, frame: bytes) -> bytes:
        """Return the frame, or lines of frames, without secrets. JSON stays JSON."""
        if _ESCAPED.search(frame):
            frame = b"\n".join(map(_unescaped, frame.split(b"\n")))
        for secret in self._secrets:
            if frame.find(secret) >= 0:
                frame = _without(frame, secret)
        searched = frame.translate(_SMALL, _IN_NO_MARKER)
        # `find`, not `in`: for bytes in bytes CPython first makes and drops an exception, at five times the cost
        markers = {marker for marker in _MARKERS if searched.find(marker) >= 0}
        if markers:
            for its_markers, expression, replacement in _RULES:
                if not markers.isdisjoint(its_markers):
                    frame = expression.sub(replacement, frame)
        return frame

    def knows(self, frame: bytes) -> bool:
        """Whether one of the values that must not be kept is in a frame, however its JSON spells it."""
        if not self._secrets:
            return False
        # `find` for the reason above; without a backslash, which base64 has none of, nothing is escaped
        frame = frame if frame.find(b"\\") < 0 else _unescaped(frame)
        return max(map(frame.find, self._secrets)) >= 0

    def text(self, text: str) -> str:
        """Return the text without secrets."""
        return self(text.encode("utf-8", "surrogatepass")).decode("utf-8", "replace")


# What may stand outside the strings of JSON. A secret of nothing else, such as one of digits, may be a part of a number.
_OUTSIDE_STRINGS = re.compile(rb"[-+0-9.eE,:\[\]{}aflnrstu]+")
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d[-+0-9.eE]*')


def _without(frame: bytes, secret: bytes) -> bytes:
    """A frame without a secret. Where it is in a number, the number becomes a string, so that JSON stays JSON."""
    plain = frame.replace(secret, _MARK)
    if not _OUTSIDE_STRINGS.fullmatch(secret):
        return plain

    def token(match: re.Match[bytes]) -> bytes:
        if match[0].startswith(b'"'):
            return match[0].replace(secret, _MARK)
        return b'"' + _MARK + b'"' if secret in match[0] else match[0]

    by_token = _TOKEN.sub(token, frame)
    try:
        for line in by_token.split(b"\n"):
            msgspec.json.decode(line)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return plain  # no JSON: the secret goes wherever it stands
    return by_token


def _spellings(secret: str) -> Iterator[bytes]:
    """A value as it stands in a URL, in text, in JSON, and in JSON inside JSON."""
    yield quote(secret, safe="", errors="replace").encode()
    for _ in range(3):
        yield secret.encode("utf-8", "surrogatepass")
        secret = msgspec.json.encode(secret.encode("utf-8", "replace").decode()).decode()[1:-1]


def _unescaped(frame: bytes) -> bytes:
    """Re-encode JSON without unnecessary escapes."""
    if not _ESCAPED.search(frame):
        return frame
    try:
        return msgspec.json.encode(msgspec.json.decode(frame))
    except (msgspec.DecodeError, ValueError, RecursionError):
        return re.sub(rb"\\u00([2-7][0-9a-fA-F])", lambda m: bytes([int(m[1], 16)]), frame).replace(b"\\/", b"/")
