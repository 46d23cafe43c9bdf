"""Where to connect, and who pays: OpenAI, Azure, xAI, any compatible URL, or the stand-in.

The stand-in is the default. A service is asked for by name, never because a key happens to be set, and a service that cannot
be reached is an error: nothing falls back. A key is read from the environment when connecting, goes into one header, and is
kept nowhere: an `Endpoint` holds the *name* of the variable.

URL and headers are those of the official SDK's clients (tests/test_endpoint.py compares them).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from . import show
from .errors import EndpointError, clipped
from .wire.dialect import Name, dialect
from .wire.events import dict_of, int_of

DEFAULT_MODEL = "gpt-realtime-2.1"
NAMES = ("standin", "openai", "azure", "xai")


# -------------------------------------------------------------------------------------------------------------- prices


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens: input, cached input, output; text and audio apart, images as input only.

    Attributes:
        as_of: When the source was read.
        source: Which page, or what stands in for it.
    """

    text: tuple[float, float, float]
    audio: tuple[float, float, float]
    image: tuple[float, float]
    as_of: str = "2026-10"
    source: str = "the model's page on developers.openai.com"

    def usd(self, usage: Mapping[str, Any]) -> float | None:
        """What a response with this `usage` cost (the object of `response.done`).

        ``None`` where the details do not account for all of its tokens, or hold what is no count (see `int_of`): what they
        cost is not known, and not zero. Cached tokens that are not told apart by kind are counted as fresh, so that the
        figure errs upwards.
        """
        inputs, outputs = dict_of(usage, "input_token_details"), dict_of(usage, "output_token_details")
        cached = dict_of(inputs, "cached_tokens_details")
        total, n_in, n_out = 0.0, 0, 0
        rates = (("text_tokens", self.text), ("audio_tokens", self.audio), ("image_tokens", (*self.image, 0.0)))
        for kind, (fresh, reused, out) in rates:
            counts = [0 if part.get(kind) is None else int_of(part, kind) for part in (inputs, cached, outputs)]
            taken, kept, made = (n or 0 for n in counts)
            if None in counts or kept > taken:  # what is there is no count, or a part is more than the whole
                return None
            total += (taken - kept) * fresh + kept * reused + made * out
            n_in, n_out = n_in + taken, n_out + made
        sums = {"input_tokens": n_in, "output_tokens": n_out, "total_tokens": n_in + n_out}
        if any(usage.get(name) is not None and int_of(usage, name) != n for name, n in sums.items()):
            return None
        return total / 1e6 if inputs and outputs else None


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


# ------------------------------------------------------------------------------------------------------------ endpoints

_SHOWN_IN_URL = ("model", "deployment", "api-version", "dialect", "intent")


class Address(str):
    """A URL that shows itself without what may be a key in it: a traceback that prints the values of variables prints reprs."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(_shown(self))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to connect.

    Attributes:
        name: ``standin``, ``openai``, ``azure``, ``xai`` or ``url``. It is ``url`` too where OPENAI_BASE_URL or
            AZURE_OPENAI_ENDPOINT leads to a host that is not the service's own: nobody can say what answers there.
        url: The websocket address with its query, without any key; empty for the in-process stand-in, which has none yet.
        dialect: ``ga`` or ``beta``.
        model: What goes into the query; Azure calls it the deployment.
        key_env: The environment variable that holds the key; ``None`` where none is needed.
        auth: How the key is sent: ``Authorization: Bearer`` or ``api-key``.
        token_env: A variable with an Entra token, which is used rather than the key where both are set (Azure), as the
            official client does.
    """

    name: str
    url: str
    dialect: Name = "ga"
    model: str | None = None
    key_env: str | None = None
    auth: Literal["bearer", "api-key"] = "bearer"
    token_env: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", Address(self.url))

    def headers(self, environ: Mapping[str, str] | None = None) -> dict[str, str]:
        """The headers of the handshake; reads the key now.

        Raises:
            EndpointError: If a key is needed and not set.
        """
        env = os.environ if environ is None else environ
        headers: dict[str, str] = {}
        if self.key_env:
            key, token = env.get(self.key_env, "").strip(), env.get(self.token_env or "", "").strip()
            if not key and not token:
                raise EndpointError(
                    f"{self.key_env} is not set, and {self.name} needs a key; in a notebook: "
                    f'os.environ["{self.key_env}"] = getpass(). To try without one, connect to "standin".'
                )
            _check_key(token or key, (self.token_env if token else self.key_env) or "")
            plain = self.auth == "api-key" and not token
            headers = {"api-key": key} if plain else {"Authorization": f"Bearer {token or key}"}
        if self.name in ("openai", "url") and self.key_env == "OPENAI_API_KEY":  # where the official client sends them
            named = (("OpenAI-Organization", "OPENAI_ORG_ID"), ("OpenAI-Project", "OPENAI_PROJECT_ID"))
            for header, variable in named:
                if env.get(variable):
                    _check_key(env[variable], variable)
                    headers[header] = env[variable]
        if self.dialect == "beta" and self.name != "xai":
            headers["OpenAI-Beta"] = "realtime=v1"
        return headers

    def secrets(self, headers: Mapping[str, str]) -> list[str]:
        """Everything in these headers and in the URL that must be kept nowhere: key, token, organisation, project."""
        values = [value for name, value in headers.items() if name != "OpenAI-Beta"]
        values += [value.partition(" ")[2] for value in values if value.startswith("Bearer ")]
        parts = urlsplit(self.url)
        values += [value for name, value in parse_qsl(parts.query) if name not in _SHOWN_IN_URL]
        return [*values, *(word for word in (parts.username, parts.password) if word)]

    @property
    def price(self) -> Price | None:
        """What it costs; ``None`` if that is not known. The stand-in costs nothing and has no price."""
        return PRICES.get(self.model or "") if self.name == "openai" else None

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc.rpartition("@")[2]

    @property
    def shown_url(self) -> str:
        """The address with everything in its query but the model hidden: somebody may have put a key there."""
        return _shown(self.url)

    @property
    def who_pays(self) -> str:
        """One phrase for the line that is printed when connecting."""
        if self.name == "standin":
            return "free, simulated"
        if self.key_env is None:
            return "no key is sent"
        price = f"priced as of {self.price.as_of}" if self.price else "price unknown to the kit"
        return f"you pay: the key in {self.key_env}; {price}"

    def __repr__(self) -> str:
        where = self.shown_url or "in this process"
        return f"<Endpoint {self.name}, {where}, {self.dialect}, {self.who_pays}>"

    def _repr_html_(self) -> str:
        return show.esc(repr(self))


def _shown(url: str) -> str:
    parts = urlsplit(str(url))
    query = urlencode([(k, v if k in _SHOWN_IN_URL else "***") for k, v in parse_qsl(parts.query)], safe="*")
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))


def endpoint(
    spec: str | Endpoint = "standin",
    *,
    model: str | None = None,
    dialect_name: str | None = None,
    key_env: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Endpoint:
    """The endpoint that a name or a URL means. Nothing is connected and no key is read.

    Args:
        spec: ``"standin"``, ``"openai"``, ``"azure"``, ``"xai"``, or a ``ws://`` / ``wss://`` URL.
        model: The model (Azure: the deployment). OpenAI: `DEFAULT_MODEL` if none is named.
        dialect_name: ``"ga"`` (default) or ``"beta"``.
        key_env: Where a URL's key is kept. Without it no key is sent: the kit never sends OPENAI_API_KEY to another host.
        environ: Instead of the process's environment. Read here: ``OPENAI_BASE_URL``, ``AZURE_OPENAI_ENDPOINT``,
            ``OPENAI_API_VERSION``.

    Raises:
        EndpointError: For a name that is none of these, a URL without scheme or host, or an Azure resource not named.
    """
    if model is not None and (not isinstance(model, str) or not model.strip()):
        raise EndpointError(f"a model is named by text such as {DEFAULT_MODEL!r}, not {clipped(model)}")
    if key_env is not None:
        _check_name(key_env)
    if isinstance(spec, Endpoint):
        return _changed(spec, model, dialect_name, key_env)
    if not isinstance(spec, str) or not spec.strip():
        raise EndpointError(f"an endpoint is a name ({', '.join(NAMES)}) or a ws:// URL, not {clipped(spec)}")
    if spec.startswith(_KEY_STARTS):
        raise EndpointError(f"this looks like a key, not like an endpoint; there are {', '.join(NAMES)} and ws:// URLs")
    env = os.environ if environ is None else environ
    d = dialect("ga" if dialect_name is None else dialect_name).name
    if spec == "standin":
        return Endpoint("standin", "", d, model or "gpt-realtime")
    if spec == "openai":
        url = _realtime(env.get("OPENAI_BASE_URL") or "https://api.openai.com/v1", base_of="OPENAI_BASE_URL")
        name = "openai" if _is_at(url, "api.openai.com") else "url"
        model = model or DEFAULT_MODEL
        return Endpoint(name, _with_query(url, model=model), d, model, key_env or "OPENAI_API_KEY")
    if spec == "azure":
        return _azure(env, model, d, key_env)
    if spec == "xai":
        model = model or "grok-voice-latest"
        url = _with_query("wss://api.x.ai/v1/realtime", model=model)
        return Endpoint("xai", url, d, model, key_env or "XAI_API_KEY")
    if "://" not in spec:
        hint = f" (did you mean ws://{_bare(spec)}?)" if ":" in spec or "/" in spec else ""
        raise EndpointError(
            f"no endpoint is called {clipped(_bare(spec))}; there are {', '.join(NAMES)}, and ws:// or wss:// URLs{hint}"
        )
    url = _realtime(spec)
    query = dict(parse_qsl(urlsplit(url).query))
    if model is not None and query.get("model", model) != model:
        raise EndpointError(
            f"the URL names the model {clipped(query['model'])} and model= says {clipped(model)}; give it once"
        )
    # OpenAI wants a model (or a call, or an intent) in the query, others do not. A server on this machine gets the default:
    # it is a stand-in, or something like it. Elsewhere what is not named is not sent, and the server says what it misses.
    model = model or (DEFAULT_MODEL if is_local(url) else None)
    if model and not query.keys() & {"model", "call_id", "intent"}:
        query["model"] = model
        url = _with_query(url, model=query["model"])
    return Endpoint("url", url, d, query.get("model"), key_env)


def is_local(url: str) -> bool:
    """Whether an address is on this machine."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def _azure(env: Mapping[str, str], model: str | None, d: Name, key_env: str | None) -> Endpoint:
    resource = env.get("AZURE_OPENAI_ENDPOINT", "").rstrip("/")
    if not resource:
        raise EndpointError(
            "AZURE_OPENAI_ENDPOINT is not set; give your resource, such as https://NAME.openai.azure.com"
        )
    if not model:
        raise EndpointError("Azure needs the name of your deployment: connect('azure', model='my-deployment')")
    if d == "ga":
        url = _with_query(_realtime(f"{resource}/openai/v1", base_of="AZURE_OPENAI_ENDPOINT"), model=model)
    else:
        version = env.get("OPENAI_API_VERSION") or "2024-10-01-preview"
        url = _realtime(f"{resource}/openai", base_of="AZURE_OPENAI_ENDPOINT")
        url = _with_query(url, **{"api-version": version, "deployment": model})
    name = "azure" if _is_at(url, "azure.com", "azure.us", "azure.cn") else "url"
    return Endpoint(name, url, d, model, key_env or "AZURE_OPENAI_API_KEY", "api-key", "AZURE_OPENAI_AD_TOKEN")


_KEY_STARTS = ("sk-", "ek_", "xai-")


def _changed(known: Endpoint, model: str | None, dialect_name: str | None, key_env: str | None) -> Endpoint:
    """The same endpoint with another model, dialect or key."""
    if dialect_name is not None and dialect(dialect_name).name != known.dialect:
        raise EndpointError(
            f"this endpoint speaks {known.dialect}, and its address may depend on it; "
            f"make one with endpoint({known.name!r}, dialect_name={dialect_name!r})"
        )
    if model is not None and model != known.model:
        field = "deployment" if "deployment" in dict(parse_qsl(urlsplit(known.url).query)) else "model"
        known = replace(known, model=model, url=known.url and _with_query(known.url, **{field: model}))
    return known if key_env is None else replace(known, key_env=key_env)


def _check_name(key_env: object) -> None:
    # Somebody may give the key itself: it must not end up in a message that says "… is not set".
    named = isinstance(key_env, str) and key_env.isidentifier() and key_env.isascii()
    if not named or (len(str(key_env)) >= 32 and any(c.isdigit() for c in str(key_env))):
        raise EndpointError(
            "key_env is the name of an environment variable, such as 'OPENAI_API_KEY', not the key itself"
        )


def _check_key(value: str, variable: str) -> None:
    if not value.isascii() or not value.isprintable() or any(c in value for c in " '\""):
        raise EndpointError(
            f"{variable} holds characters that no key has (a space, a quote, a line break?); set it again"
        )


def _bare(address: str) -> str:
    """An address without what may be secret in it: user, password and query."""
    address = address.split("?")[0].split("#")[0]
    scheme, mark, rest = address.rpartition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"


def _is_at(url: str, *domains: str) -> bool:
    """Whether a host is one of these domains or below one."""
    host = urlsplit(url).hostname or ""
    return any(host == domain or host.endswith(f".{domain}") for domain in domains)


def _realtime(address: str, base_of: str | None = None) -> str:
    """An address as a websocket's.

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
        raise EndpointError(
            f"{clipped(_bare(address))}{where} is not an address of a Realtime server; it looks like {looks}"
        )
    path = parts.path.rstrip("/")
    if base_of or path.endswith("/v1"):
        path = f"{path}/realtime"
    elif not path:
        path = "/v1/realtime"
    return urlunsplit((scheme, parts.netloc, path, parts.query, ""))


def _with_query(url: str, **fields: str) -> str:
    """The address with these fields in its query, in place of what it had under their names."""
    parts = urlsplit(url)
    kept = [(k, v) for k, v in parse_qsl(parts.query, keep_blank_values=True) if k not in fields]
    return urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode([*kept, *fields.items()]), ""))
