"""Where to connect, and who pays: OpenAI, Azure, xAI, any compatible URL, or the stand-in.

The stand-in is the default. A service is asked for by name, never because a key happens to be set, and a service that cannot
be reached is an error: there is no fallback. A key is read from the environment when connecting, goes into one header, and is
kept nowhere: an `Endpoint` holds the *name* of the variable.

URL and headers are those of the official SDK's clients (tests/test_endpoint.py compares them).
"""

from __future__ import annotations

import base64
import contextlib
import functools
import ipaddress
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from . import show
from .errors import EndpointError, InputError, clipped
from .services import ALL_ROLES, CANNOT, HISTORY_HZ, SERVICES, UNKNOWN, Capabilities, Service, is_at, service_at
from .wire.dialect import Name, dialect
from .wire.events import dict_of, int_of
from .wire.live import USD_PER_SECOND, is_live_model

DEFAULT_MODEL = "gpt-realtime-2.1"
DEFAULT_LIVE_MODEL = "gpt-live-1.1"
NAMES = tuple(name for name in SERVICES if name != "qwen")  # its address is each user's own, and has no default


Auth = Literal["bearer", "api-key", "xi-api-key", "basic", "none"]
"""How a key is sent: as ``Authorization: Bearer``, as the header ``api-key`` (Azure) or ``xi-api-key`` (ElevenLabs), as
``Authorization: Basic``, or not at all."""

Protocol = Literal["realtime", "live"]

# Fields of a query that may be shown; any other may hold a key, and is hidden.
_SHOWN_IN_URL = ("model", "deployment", "api-version", "dialect", "intent", "call_id")
KEY_IN_URL = re.compile("key|token|secret|sig|code|auth|pass", re.IGNORECASE)  # names of query fields that hold one
# How keys begin: one that was passed where an endpoint belongs is not repeated in the error.
_KEY_STARTS = ("sk-", "ek_", "xai-")


class Address(str):
    """A URL whose repr hides what may be a key in it: a traceback that prints the values of variables prints reprs."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(_url_without_secrets(self))


class Hidden(str):
    """A header's value, of which no repr shows anything."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


@dataclass(frozen=True)
class Endpoint:
    """Where to connect.

    Attributes:
        name: Of a service (`kit.services`), ``standin`` or ``url``. It is ``url`` too where OPENAI_BASE_URL or
            AZURE_OPENAI_ENDPOINT leads to a host that is not the service's own: what answers there is unknown.
        url: The websocket address with its query, without any key; empty for the in-process stand-in, which has none yet.
        dialect: ``ga`` or ``beta``.
        model: What goes into the query; Azure calls it the deployment.
        key_env: The environment variable that holds the key; ``None`` where none is needed.
        auth: How the key is sent (`Auth`).
        token_env: A variable with an Entra token, which is used rather than the key where both are set (Azure), as the
            official client does.
        protocol: ``realtime``, or ``live`` for GPT-Live, where the model goes into the body and not into the address.
        fork: GPT-Live: the id of the stored session that is forked.
        attach: GPT-Live: the id of the running session that is joined as a sideband.
        extra_headers: More headers of the handshake, as pairs. Their values are treated like the key: shown and kept nowhere.
    """

    name: str
    url: str
    dialect: Name = "ga"
    model: str | None = None
    key_env: str | None = None
    auth: Auth = "bearer"
    token_env: str | None = None
    extra_headers: tuple[tuple[str, str], ...] = ()
    protocol: Protocol = "realtime"
    fork: str | None = None
    attach: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", Address(self.url))
        object.__setattr__(self, "extra_headers", tuple((name, Hidden(value)) for name, value in self.extra_headers))

    def headers(self, environ: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the headers of the handshake. Reads the key now.

        Raises:
            EndpointError: If a key is needed and not set, or would go unencrypted to another machine.
        """
        if urlsplit(self.url).scheme == "ws" and not is_local(self.url) and self.sends_key:
            raise EndpointError(f"a key would go to {self.host} unencrypted; use wss:// (in OPENAI_BASE_URL https://)")
        # The values are looked at elsewhere: a frame that raises has none of them, so no traceback can print one.
        headers, problem = self._headers(environ)
        if problem:
            raise EndpointError(problem)
        return headers

    def _headers(self, environ: Mapping[str, str] | None) -> tuple[dict[str, str], str]:
        env = os.environ if environ is None else environ
        headers = {name: str(value) for name, value in self.extra_headers}
        if self.key_env and self.auth != "none":
            # Both set: the token, as the official client does it.
            variable = self.token_env if self.token_env and env.get(self.token_env, "").strip() else self.key_env
            key = env.get(variable, "").strip()
            if not key:
                return {}, (
                    f"{self.key_env} is not set, and {self.name} needs a key; in a notebook: "
                    f'os.environ["{self.key_env}"] = getpass(). To try without one, connect to "standin".'
                )
            # A space or a quote was copied along with the key; a line break would begin another header.
            if not (key.isascii() and key.isprintable()) or any(c in key for c in " '\""):
                problem = "holds characters that no key has (a space, a quote, a line break?); set it again"
                return {}, f"{variable} {problem}"
            auth = "bearer" if variable == self.token_env else self.auth
            if auth == "basic" and ":" in key:  # a user and a password; Inworld hands out what is encoded already
                key = base64.b64encode(key.encode()).decode()
            scheme = {"bearer": "Bearer ", "basic": "Basic "}.get(auth)
            headers["Authorization" if scheme else auth] = f"{scheme or ''}{key}"
        if self.name in ("openai", "url") and self.key_env == "OPENAI_API_KEY":  # where the official client sends them
            for header, variable in (("OpenAI-Organization", "OPENAI_ORG_ID"), ("OpenAI-Project", "OPENAI_PROJECT_ID")):
                value = env.get(variable, "")
                if not (value.isascii() and value.isprintable()):
                    return {}, f"{variable} holds characters that no header has (a line break?); set it again"
                headers |= {header: value} if value else {}
        # Beta is asked for by this header alone; the other services speak theirs unasked.
        if self.dialect == "beta" and self.name in ("openai", "azure", "url", "standin"):
            headers["OpenAI-Beta"] = "realtime=v1"
        return headers, ""

    def secrets(self, headers: Mapping[str, str]) -> list[str]:
        """Return everything in these headers and in the URL that must be kept nowhere: key, token, organisation, project."""
        # `OpenAI-Beta` is a constant; any other value may be secret, those of the user's own headers too.
        values = [value for name, value in headers.items() if name != "OpenAI-Beta"]
        values += [value.partition(" ")[2] for value in values if value.startswith(("Bearer ", "Basic "))]
        users = []
        for value in values:
            if value.startswith("Basic "):
                with contextlib.suppress(ValueError):  # a key that is none has no user and no password
                    users.append(base64.b64decode(value.removeprefix("Basic "), validate=True).decode())
        values += [part for user in users for part in (user, *user.split(":", 1))]
        return [value for value in (*values, *self._secrets_in_url) if value]

    @functools.cached_property
    def _secrets_in_url(self) -> list[str]:
        """A gateway's key may be in the query or before the host, where Basic authorization is made of it."""
        parts = urlsplit(self.url)
        values = [value for name, value in parse_qsl(parts.query) if name not in _SHOWN_IN_URL]
        if parts.username:
            name, password = unquote(parts.username), unquote(parts.password or "")
            values += [f"{name}:{password}", name, password]
            values.append(base64.b64encode(f"{name}:{password}".encode()).decode())  # so websockets sends them
        return values

    @property
    def sends_key(self) -> bool:
        """Whether a key goes out: in a header, or in the URL's query or user."""
        parts = urlsplit(self.url)
        in_url = any(KEY_IN_URL.search(name) for name, _ in parse_qsl(parts.query))
        return bool(self.key_env and self.auth != "none") or bool(self.extra_headers or parts.username or in_url)

    @property
    def price(self) -> Price | None:
        """Its price; ``None`` if that is not known. The stand-in costs nothing and has no price."""
        # Azure and the others have price lists of their own.
        return PRICES.get(self.model or "") if self.name == "openai" else None

    @property
    def ends(self) -> str | None:
        """The day on which the service switches its model off (``YYYY-MM-DD``), if one is announced."""
        return ENDS.get(self.model or "") if self.name == "openai" else None

    @functools.cached_property
    def capabilities(self) -> Capabilities:
        """What it can do, as far as it is known: its service's row of `kit.services`, also for a URL at the service's host."""
        service = SERVICES.get(self.name) or service_at(urlsplit(self.url).hostname or "")
        return service.can if service else UNKNOWN

    def cannot(self, *abilities: str, roles: Iterable[str] = (), with_sound: bool = False) -> str | None:
        """Return why it cannot do something, and from where that is known; ``None`` if it can, or nothing is known of that.

        Args:
            abilities: Fields of `Capabilities` that have to be true.
            roles: Roles of the text items that it has to take.
            with_sound: Whether it has to take an item with sound in it.
        """
        can = self.capabilities
        reason = next((CANNOT[ability] for ability in abilities if getattr(can, ability) is False), None)
        missing = sorted(set(roles) - set(ALL_ROLES if can.seeds is None else can.seeds))
        if reason is None and missing:
            reason = f"takes no {missing[0]} messages"
        if reason is None and with_sound and can.input_hz not in (None, HISTORY_HZ):
            reason = f"takes sound at {can.input_hz:,} Hz, and that of a history has {HISTORY_HZ:,}"
        return f"{self.label} {reason} ({can.source or can.known_from})" if reason else None

    @functools.cached_property
    def host(self) -> str:
        return urlsplit(self.url).netloc.rpartition("@")[2]

    @property
    def label(self) -> str:
        """What tables and reports call it: its name, or the host where it has none."""
        return self.host if self.name == "url" else self.name

    @functools.cached_property
    def shown_url(self) -> str:
        """The address with everything in its query but the model hidden: a key may be there."""
        return _url_without_secrets(self.url)

    @property
    def who_pays(self) -> str:
        """One phrase for the line that is printed when connecting."""
        if self.name == "standin":
            return "free, simulated"
        if not self.sends_key:
            return "no key is sent"
        where = f"in {self.key_env}" if self.key_env else "in the headers" if self.extra_headers else "in the URL"
        price = f"priced as of {self.price.as_of}" if self.price else "price unknown to the kit"
        if self.ends:
            price += f"; this model ends on {self.ends}"
        if self.protocol == "live" and self.name in ("openai", "azure"):
            price = f"${USD_PER_SECOND * 60:.2f} a minute while it is open, backend tokens beside it"
        return f"you pay: the key {where}; {price}"

    def __repr__(self) -> str:
        where = self.shown_url or "in this process"
        return f"<Endpoint {self.name}, {where}, {self.dialect}, {self.who_pays}>"

    def _repr_html_(self) -> str:
        return show.esc(repr(self))


def endpoint(
    spec: str | Endpoint = "standin",
    *,
    model: str | None = None,
    dialect_name: str | None = None,
    key_env: str | None = None,
    auth: Auth | None = None,
    headers: Mapping[str, str] | None = None,
    call_id: str | None = None,
    protocol: Protocol | None = None,
    fork: str | None = None,
    attach: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Endpoint:
    """Return the endpoint that a name or a URL means. Nothing is connected and no key is read.

    Args:
        spec: The name of a service (``kit endpoints`` lists them), or a ``ws://`` / ``wss://`` URL.
        model: The model (Azure: the deployment). OpenAI: `DEFAULT_MODEL` if none is named.
        dialect_name: ``"ga"`` or ``"beta"``; by default what the service speaks, else GA.
        key_env: The variable that holds a URL's key. Without it no key is sent: OPENAI_API_KEY goes to no other host.
        auth, headers, call_id, protocol, fork, attach: As `kit.connect` takes them.
        environ: Instead of the process's environment. Read here: ``OPENAI_BASE_URL``, ``AZURE_OPENAI_ENDPOINT``,
            ``OPENAI_API_VERSION``, ``AZURE_VOICELIVE_ENDPOINT``, ``AZURE_VOICELIVE_API_VERSION``.
    """
    if model is not None and (not isinstance(model, str) or not model.strip()):
        raise EndpointError(f"a model is named by text such as {DEFAULT_MODEL!r}, not {clipped(model)}")
    if key_env is not None and not (isinstance(key_env, str) and re.fullmatch("[A-Z_][A-Z0-9_]*", key_env)):
        # The key itself may have been passed here, so what was passed is not repeated.
        raise EndpointError("key_env is the name of a variable, such as 'OPENAI_API_KEY'; not the key itself")
    if auth is not None and auth not in get_args(Auth):
        raise EndpointError(f"auth is one of {', '.join(get_args(Auth))}, not {clipped(auth)}")
    where = _named(spec, model, dialect_name, os.environ if environ is None else environ)
    if key_env is not None:
        where = replace(where, key_env=key_env)
    if auth is not None:
        where = replace(where, auth=auth)
        # Without a variable there is nothing to send in that way, and the service would refuse in words that explain nothing.
        if auth != "none" and where.key_env is None:
            raise EndpointError(f"auth={auth!r} needs the variable that holds the key: key_env='…'")
    if headers is not None:
        # The values may be secret: a sentence names the header alone.
        for name, value in headers.items():
            if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):  # RFC 9110, 5.1
                raise EndpointError(f"no header can be called {clipped(name)}")
            if not (isinstance(value, str) and value.strip() and value.isascii() and value.isprintable()):
                raise EndpointError(f"the header {name} must be text in one line")
        where = replace(where, extra_headers=tuple((name, value.strip()) for name, value in headers.items()))
    if call_id is not None:
        if not isinstance(call_id, str) or not call_id or not where.url:
            raise EndpointError("call_id is the id of a call at a service: connect('openai', call_id='rtc_…')")
        # The call has its model already: `call_id` stands in its place (wire/README.md, Addresses and headers).
        where = replace(where, model=None, url=_with_query(where.url, model=None, call_id=call_id))
    if protocol is not None and protocol not in get_args(Protocol):
        raise EndpointError(f"protocol is realtime or live, not {clipped(protocol)}")
    # The model, the address and a fork each say it; `protocol` overrules the model's name, for one that the kit does not know.
    by_name = is_live_model(model) or "/live/sessions" in urlsplit(where.url).path or (fork or attach) is not None
    if protocol == "live" or (protocol is None and by_name):
        return _live(where, model, fork, attach)
    if (fork or attach) is not None:
        raise EndpointError("fork and attach are GPT-Live's: a Realtime session has neither (for a call: call_id)")
    return where


def _live(where: Endpoint, model: str | None, fork: str | None, attach: str | None) -> Endpoint:
    """The same endpoint's address for GPT-Live."""
    if where.name == "xai" or where.dialect == "beta":
        raise EndpointError(f"{where.name} in dialect {where.dialect} does not speak GPT-Live")
    if fork is not None and attach is not None:
        raise EndpointError("a session is forked or attached to, not both")
    for word, session_id in (("fork", fork), ("attach", attach)):
        if session_id is not None and not (isinstance(session_id, str) and re.fullmatch(r"[\w-]{1,200}", session_id)):
            kind = "a stored" if word == "fork" else "a running"
            raise EndpointError(f"{word} is the id of {kind} session, such as 'live_u0_…', not {clipped(session_id)}")
    named = model or (where.model if is_live_model(where.model) else DEFAULT_LIVE_MODEL)
    model = None if fork or attach else named  # else it is the other session's
    url = live_address(where.url, fork=fork, attach=attach) if where.url else ""
    return replace(where, url=url, model=model, protocol="live", fork=fork, attach=attach)


def live_address(url: str, *, fork: str | None = None, attach: str | None = None) -> str:
    """Return the address of GPT-Live beside an address of Realtime: no model in the query, another session by its id."""
    parts = urlsplit(url)
    # Of either protocol: the address may be Live's already, a fork's for example.
    root = parts.path.partition("/live/sessions")[0].removesuffix("/realtime")
    door = f"/{fork}/fork" if fork else f"/{attach}/attach" if attach else ""
    # The model goes into `session.start` (wire/LIVE.md, Connecting).
    query = [(k, v) for k, v in parse_qsl(parts.query) if k not in ("model", "deployment", "api-version")]
    # Without it a sideband's socket may just be cut when the session ends (wire/LIVE.md, "Attaching").
    query += [("graceful_close", "true")] if attach else []
    return urlunsplit((parts.scheme, parts.netloc, f"{root}/live/sessions{door}", urlencode(query), ""))


def _named(spec: str | Endpoint, model: str | None, dialect_name: str | None, env: Mapping[str, str]) -> Endpoint:
    """The endpoint of a name, a URL, or of an endpoint with another model."""
    if isinstance(spec, Endpoint):
        if dialect_name is not None and dialect(dialect_name).name != spec.dialect:
            raise EndpointError(f"this endpoint speaks {spec.dialect}; make another: endpoint(…, dialect_name=…)")
        if model is None or model == spec.model:
            return spec
        # Azure's preview calls it the deployment.
        field = "deployment" if "deployment" in dict(parse_qsl(urlsplit(spec.url).query)) else "model"
        return replace(spec, model=model, url=spec.url and _with_query(spec.url, **{field: model}))
    if not isinstance(spec, str) or not spec.strip():
        raise EndpointError(f"an endpoint is a name ({', '.join(NAMES)}) or a ws:// URL, not {clipped(spec)}")
    if spec.startswith(_KEY_STARTS):
        raise EndpointError(f"this looks like a key, not like an endpoint; there are {', '.join(NAMES)} and ws:// URLs")
    d = dialect("ga" if dialect_name is None else dialect_name).name
    if spec in ("standin", "stand-in"):  # the word of all texts, too
        return Endpoint("standin", "", d, model or "gpt-realtime")
    if spec in NAMES:
        return _service(SERVICES[spec], env, model, dialect_name)
    if "://" not in spec:
        hint = f" (did you mean ws://{_bare(spec)}?)" if ":" in spec or "/" in spec else ""
        names = ", ".join(NAMES)
        raise EndpointError(f"no endpoint is called {clipped(_bare(spec))}; there are {names}, and ws:// URLs{hint}")
    return _at_url(spec, model, d)


@functools.lru_cache(64)
def _at_url(address: str, model: str | None, d: Name) -> Endpoint:
    """The endpoint of a URL."""
    url = _realtime(address)
    query = dict(parse_qsl(urlsplit(url).query))
    if model is not None and query.get("model", model) != model:
        raise EndpointError(f"the URL names {clipped(query['model'])}, model= says {clipped(model)}; give it once")
    # OpenAI wants a model (or a call, or an intent) in the query, others do not. A server on this machine gets the default:
    # it is a stand-in, or something like it. Elsewhere what is not named is not sent, and the server says what it misses.
    model = model or (DEFAULT_MODEL if is_local(url) else None)
    if model and not query.keys() & {"model", "call_id", "intent"}:
        query["model"] = model
        url = _with_query(url, model=model)
    return Endpoint("url", url, d, query.get("model"))


def _service(service: Service, env: Mapping[str, str], model: str | None, dialect_name: str | None) -> Endpoint:
    """The endpoint of a service that has a name, in its own dialect unless another is asked for."""
    d = dialect(dialect_name or service.dialect).name
    base = env.get(service.url_env) or service.url
    if not base:
        raise EndpointError(f"{service.url_env} is not set; set it to your resource: {service.resource}")
    query: dict[str, str] = {}
    if service.name == "azure":
        if not model:
            raise EndpointError("Azure needs the name of your deployment: connect('azure', model='my-deployment')")
        # GA has no version in its address, and calls the deployment a model (wire/README.md, Addresses and headers).
        base = f"{base.rstrip('/')}/openai{'/v1' if d == 'ga' else ''}"
        if d == "beta":
            query = {"api-version": env.get("OPENAI_API_VERSION") or "2024-10-01-preview", "deployment": model}
    elif service.name == "azure-voice-live":
        base = f"{base.rstrip('/')}/voice-live"
        query = {"api-version": env.get("AZURE_VOICELIVE_API_VERSION") or "2025-10-01"}
    model = model or service.model
    if model and service.model_in_url and "deployment" not in query:
        query["model"] = model
    url = _with_query(_realtime(base, base_of=service.url_env), **query)
    # A variable may lead anywhere: what is known of the service, its prices too, does not hold there.
    name = service.name if is_at(urlsplit(url).hostname or "", *service.domains) else "url"
    return Endpoint(name, url, d, model, service.key_env, service.auth, service.token_env)


# ------------------------------------------------------------------------------------------------------------ addresses


@functools.lru_cache(64)
def is_local(url: str) -> bool:
    """Whether an address is on this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, such as 127.evil.example
        return False


def _url_without_secrets(url: str) -> str:
    parts = urlsplit(str(url))
    query = urlencode([(k, v if k in _SHOWN_IN_URL else "***") for k, v in parse_qsl(parts.query)], safe="*")
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))


def _bare(address: str) -> str:
    """An address without what may be secret in it: user, password and query."""
    address = address.split("?")[0].split("#")[0]
    scheme, mark, hosted = address.rpartition("://")
    host, slash, path = hosted.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"


def _realtime(address: str, base_of: str | None = None) -> str:
    """Return an address as a websocket's.

    Args:
        address: Of a Realtime server. http becomes ws; ``/v1/realtime`` follows a bare host, ``/realtime`` what ends on ``/v1``.
        base_of: The variable that it comes from, if it is a base URL as the SDK takes it: ``/realtime`` always follows.
    """
    try:
        parts = urlsplit(address.strip())
        scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
        ok = scheme in ("ws", "wss") and parts.hostname and parts.port != 0 and not any(map(str.isspace, parts.netloc))
    except ValueError:  # a port that is no number, a bracket without its partner
        ok = False
    if not ok:
        where = f" (from {base_of})" if base_of else ""
        looks = "https://host/v1" if base_of else "wss://host/v1/realtime"
        raise EndpointError(f"{clipped(_bare(address))}{where} is no address of a Realtime server, like {looks}")
    path = parts.path.rstrip("/")
    if base_of or path.endswith("/v1"):
        path = f"{path}/realtime"
    elif not path:
        path = "/v1/realtime"
    return urlunsplit((scheme, parts.netloc, path, parts.query, ""))


def _with_query(url: str, **fields: str | None) -> str:
    """Return the address with these fields in its query in place of its own of that name; ``None`` takes one out."""
    parts = urlsplit(url)
    query = [(k, v) for k, v in parse_qsl(parts.query, keep_blank_values=True) if k not in fields]
    query += [(k, v) for k, v in fields.items() if v is not None]
    return urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(query), ""))


# -------------------------------------------------------------------------------------------------------------- prices


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens: input, cached input, output; text and audio apart, images as input only."""

    text: tuple[float, float, float]
    audio: tuple[float, float, float]
    image: tuple[float, float]
    as_of: str = "2026-10"
    source: str = "the model's page on developers.openai.com"

    def __post_init__(self) -> None:
        for kind, n in (("text", 3), ("audio", 3), ("image", 2)):
            rates = getattr(self, kind)
            if not (isinstance(rates, tuple | list) and len(rates) == n) or not all(
                isinstance(rate, int | float) and not isinstance(rate, bool) and 0 <= rate < math.inf for rate in rates
            ):
                raise InputError(f"a price's {kind} is {n} rates in USD per million tokens, not {clipped(rates)}")
            object.__setattr__(self, kind, tuple(rates))

    @classmethod
    def parse(cls, text: str) -> Price:
        """Read a price as it is written in a terminal: ``text=4/0.4/24 audio=32/0.4/64 image=5/0.5``, in US dollars per million
        tokens; images may be left out. Or the name of a model whose price is known.
        """
        if text in PRICES:
            return PRICES[text]
        rates: dict[str, Any] = {"image": (0.0, 0.0)}
        try:
            for word in text.split():
                kind, _, numbers = word.partition("=")
                rates[kind] = tuple(map(float, numbers.split("/")))
            return cls(**rates, as_of="given", source="given")
        except (TypeError, ValueError):
            raise InputError(
                f"{clipped(text)} is no price: write 'text=4/0.4/24 audio=32/0.4/64' (USD per million tokens: input, cached, output), "
                f"or one of {', '.join(PRICES)}"
            ) from None

    def __str__(self) -> str:
        """As `parse` reads it."""
        kinds = ("text", "audio", "image")
        return " ".join(f"{kind}={'/'.join(f'{rate:g}' for rate in getattr(self, kind))}" for kind in kinds)

    def usd(self, usage: Mapping[str, Any]) -> float | None:
        """Return what a response with this `usage` cost (the object of `response.done`).

        ``None``, which is not zero, if the counts cannot be believed: one that is no count (see `int_of`), or parts that do
        not add up to their total. Cached tokens without a kind are counted as fresh, so that the figure errs upwards.
        """
        inputs, outputs = dict_of(usage, "input_token_details"), dict_of(usage, "output_token_details")
        cached = dict_of(inputs, "cached_tokens_details")
        usd, n_in, n_out = 0.0, 0, 0
        # Nothing is drawn, so an image has no output rate.
        rates = (("text_tokens", self.text), ("audio_tokens", self.audio), ("image_tokens", (*self.image, 0.0)))
        for kind, (fresh_rate, cached_rate, output_rate) in rates:
            # A kind that is not mentioned was not used; one that is no count makes the whole price unknown.
            counts = [0 if part.get(kind) is None else int_of(part, kind) for part in (inputs, cached, outputs)]
            n_read, n_cached, n_written = (n or 0 for n in counts)
            if None in counts or n_cached > n_read:
                return None
            usd += (n_read - n_cached) * fresh_rate + n_cached * cached_rate + n_written * output_rate
            n_in, n_out = n_in + n_read, n_out + n_written
        totals = {"input_tokens": n_in, "output_tokens": n_out, "total_tokens": n_in + n_out}
        if any(usage.get(name) is not None and int_of(usage, name) != n for name, n in totals.items()):
            return None
        return usd / 1e6 if inputs and outputs else None


_SECOND_HAND = "two secondary sources; the model's own page was not read"
# A model that is not here has an unknown price, which is not zero.
PRICES: dict[str, Price] = {
    "gpt-realtime": Price((4, 0.40, 16), (32, 0.40, 64), (5, 0.50), source=_SECOND_HAND),
    "gpt-realtime-mini": Price((0.60, 0.06, 2.40), (10, 0.30, 20), (0.80, 0.08), source="its audio row is unverified"),
    "gpt-realtime-1.5": Price((4, 0.40, 16), (32, 0.40, 64), (5, 0.50)),
    "gpt-realtime-2": Price((4, 0.40, 24), (32, 0.40, 64), (5, 0.50)),
    "gpt-realtime-2.1": Price((4, 0.40, 24), (32, 0.40, 64), (5, 0.50)),
    "gpt-realtime-2.1-mini": Price((0.60, 0.06, 2.40), (10, 0.30, 20), (0.80, 0.08)),
}


# The day on which the service switches a model off: developers.openai.com, deprecations, read in 2026-11. On Azure it is later.
ENDS = dict.fromkeys(
    ("gpt-realtime", "gpt-realtime-2025-08-28", "gpt-realtime-mini", "gpt-realtime-mini-2025-12-15"), "2027-01-20"
)
