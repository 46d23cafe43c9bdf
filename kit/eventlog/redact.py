"""Secrets out, before the bytes reach the disk.

Three nets, one behind the other:

* **values**: what was sent as a key, organisation or project in this session, wherever the server repeats it;
* **shapes**: what looks like a secret wherever it stands: ``sk-…``, ``ek_…``, ``Bearer …``, ``org-…``, JSON web tokens, a key in
  a URL;
* **names**: the value of a field called ``authorization``, ``api_key``, ``cookie``, ``client_secret`` and the like, also inside
  JSON that is itself a string (a tool's arguments).

Not caught: a secret that somebody *says* (it comes a token at a time), or one of your own that looks like any other word;
give those as a hook: ``connect(log=…, redact=function)``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

MARK = "[redacted]"
_MARK = MARK.encode()
_BACKSLASH = ord("\\")  # as a number: bytes in bytes costs CPython an exception, `find` does not

Hook = Callable[[dict[str, Any]], Mapping[str, Any] | None]
"""Takes an event, gives the event to keep; ``None`` keeps nothing of it but that it was there."""

_NAMES = (
    "authorization", "proxy-authorization", "x-api-key", "api-key", "api_key", "apikey", "openai-organization",
    "openai-project", "organization_id", "project_id", "set-cookie", "cookie", "client_secret", "access_token", "refresh_token",
    "id_token", "password", "secret",
)  # fmt: skip
_SHAPES = (
    rb"\b(?:sk|xai|rk|pk)-[\w*-]{6,}",  # API keys; the service itself shows them with stars
    rb"\bek_\w{6,}",  # ephemeral secrets
    rb"(?:\b|_)(?:org|proj)[-_](?=\w*\d)\w{8,}",  # organisations and projects
    rb"\b(?:Bearer|Basic)\s+[\w.~+/=-]{6,}",
    rb"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*",  # JSON web tokens
    rb"\b__cf_bm=[^;\"\\\s]+",
)
_SHAPE = re.compile(b"|".join(_SHAPES), re.IGNORECASE)
_IN_URL = re.compile(
    rb"([?&](?:api[-_]?key|key|token|access_token|sig|signature|code|secret)=)[^&\"'\\\s#]+", re.IGNORECASE
)
_USER_IN_URL = re.compile(rb"(\w://)[^/@\s\"'\\]+@")
_HEADER = "|".join(re.escape(name) for name in _NAMES)
# "name": "value", also with the quotes escaped, as they are in JSON inside a string.
_NAMED = re.compile(rf'(\\*["\'](?:{_HEADER})\\*["\']\s*:\s*\\*["\'])(?!\[redacted\])[^"\'\\]+'.encode(), re.IGNORECASE)
# name: value, as headers are printed
_PRINTED = re.compile(rf"\b((?:{_HEADER})\s*[:=]\s*)(?!\[redacted\])[^\s\"'\\,;{{\[]+".encode(), re.IGNORECASE)
# "client_secret": {…} and a tool's "headers": {…}, whole
_OBJECTS = re.compile(rb'("(?:client_secret|headers)"\s*:\s*)\{[^{}]*\}', re.IGNORECASE)
_ESCAPED = re.compile(rb"\\u00[2-7]|\\/")  # a letter written as an escape would slip past every expression

# Whatever an expression matches holds, in small letters, one of the markers before it; none of them reaches past a quote. Most
# frames hold no marker at all, and looking for bytes is far cheaper than any expression.
_NAME_MARKERS = (
    b"authoriz",
    b"key",
    b"org",
    b"proj",
    b"cookie",
    b"secret",
    b"access_token",
    b"refresh_token",
    b"id_token",
    b"passw",
)
_NETS: tuple[tuple[tuple[bytes, ...], re.Pattern[bytes], bytes], ...] = (
    ((b"client_secret", b"headers"), _OBJECTS, rb'\1"' + _MARK + b'"'),
    (_NAME_MARKERS, _NAMED, rb"\1" + _MARK),
    ((b"k-", b"xai-", b"ek_", b"org", b"proj", b"bearer", b"basic", b"eyj", b"__cf_bm"), _SHAPE, _MARK),
    (_NAME_MARKERS, _PRINTED, rb"\1" + _MARK),
    ((b"=",), _IN_URL, rb"\1" + _MARK),
    ((b"@",), _USER_IN_URL, rb"\1" + _MARK + b"@"),
)
_MARKERS = tuple(sorted({marker for markers, _, _ in _NETS for marker in markers}))


class Redactor:
    """Takes secrets out of frames.

    Args:
        secrets: Values that must not be kept, wherever they stand: the key that was sent, organisation and project.
        hook: Your own, called with each event before it is written; what it returns is redacted as well.
    """

    def __init__(self, secrets: Iterable[str] = (), hook: Hook | None = None) -> None:
        self.hook = hook
        self._secrets: tuple[bytes, ...] = ()
        self.add(*secrets)

    def add(self, *secrets: str) -> None:
        """More values that must not be kept. Anything below 6 characters is no secret, and would tear words apart."""
        known = {form for secret in secrets if len(secret) >= 6 for form in _as_written(secret)}
        # the longest first: one may be the beginning of another
        self._secrets = tuple(sorted({*self._secrets, *known}, key=len, reverse=True))

    def __repr__(self) -> str:
        return f"<Redactor {len(self._secrets)} values, {'and a hook' if self.hook else 'no hook'}>"

    def __call__(self, frame: bytes) -> bytes:
        """The same bytes without secrets. JSON stays JSON."""
        if _BACKSLASH in frame and _ESCAPED.search(frame):
            frame = _plainly_written(frame)
        for secret in self._secrets:
            if frame.find(secret) >= 0:
                frame = frame.replace(secret, _MARK)
        if _is_clean(frame):
            return frame
        low = frame.lower()
        for markers, expression, instead in _NETS:
            if max(map(low.find, markers)) >= 0:
                frame = expression.sub(instead, frame)
        return frame

    def knows(self, frame: bytes) -> bool:
        """Whether one of the values that must not be kept is in a frame."""
        return max(map(frame.find, self._secrets), default=-1) >= 0

    def text(self, words: str) -> str:
        """`words` without secrets."""
        return self(words.encode("utf-8", "surrogatepass")).decode("utf-8", "replace")


def _as_written(secret: str) -> Iterator[bytes]:
    """A value as it stands in text, in JSON, and in JSON inside JSON."""
    for _ in range(3):
        yield secret.encode("utf-8", "surrogatepass")
        secret = msgspec.json.encode(secret.encode("utf-8", "replace").decode()).decode()[1:-1]


_clean: set[bytes] = set()  # what stood between two quotes, in any session, and holds no marker
_MAX_CLEAN, _MAX_REMEMBERED = 5_000, 1_000  # how many, and of frames of how many bytes


def _is_clean(frame: bytes) -> bool:
    """Whether no expression can match. Sessions say most of their words many times over: each is looked at once."""
    new = set(frame.split(b'"')) - _clean
    if not new:
        return True
    words = b'"'.join(new).lower()
    if max(map(words.find, _MARKERS)) >= 0:
        return False
    if len(frame) < _MAX_REMEMBERED:
        if len(_clean) > _MAX_CLEAN:
            _clean.clear()
        _clean.update(new)
    return True


def _plainly_written(frame: bytes) -> bytes:
    """The same JSON with no more escapes than it needs."""
    try:
        return msgspec.json.encode(msgspec.json.decode(frame))
    except (msgspec.DecodeError, ValueError, RecursionError):
        return re.sub(rb"\\u00([2-7][0-9a-fA-F])", lambda m: bytes([int(m[1], 16)]), frame).replace(b"\\/", b"/")
