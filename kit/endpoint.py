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

DEFAULT_MODEL = "gpt-realtime-2.1"
NAMES = ("standin", "openai", "azure", "xai")


# -------------------------------------------------------------------------------------------------------------- prices


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens: input, cached input, output; text and audio apart.

    Attributes:
        as_of: When the source was read.
        source: Which page, or what stands in for it.
    """

    text: tuple[float, float, float]
    audio: tuple[float, float, float]
    as_of: str = "2026-10"
    source: str = "the model's page on developers.openai.com"

    def usd(self, usage: Mapping[str, Any]) -> float:
        """What a response with this `usage` cost (the object of `response.done`)."""
        given, made = usage.get("input_token_details") or {}, usage.get("output_token_details") or {}
        cached = given.get("cached_tokens_details") or {}
        total = 0.0
        for kind, (fresh, kept, out) in (("text_tokens", self.text), ("audio_tokens", self.audio)):
            reused = cached.get(kind) or 0
            total += ((given.get(kind) or 0) - reused) * fresh + reused * kept + (made.get(kind) or 0) * out
        return total / 1e6


_SECOND_HAND = "two secondary sources; the model's own page was not read"
# A model that is not here has an unknown price, which is not zero.
PRICES: dict[str, Price] = {
    "gpt-realtime": Price((4, 0.40, 16), (32, 0.40, 64), source=_SECOND_HAND),
    "gpt-realtime-mini": Price((0.60, 0.06, 2.40), (10, 0.30, 20), source="its audio row is unverified"),
    "gpt-realtime-1.5": Price((4, 0.40, 16), (32, 0.40, 64)),
    "gpt-realtime-2": Price((4, 0.40, 24), (32, 0.40, 64)),
    "gpt-realtime-2.1": Price((4, 0.40, 24), (32, 0.40, 64)),
    "gpt-realtime-2.1-mini": Price((0.60, 0.06, 2.40), (10, 0.30, 20)),
}


# ------------------------------------------------------------------------------------------------------------ endpoints


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to connect.

    Attributes:
        name: ``standin``, ``openai``, ``azure``, ``xai`` or ``url``.
        url: The websocket address with its query, without any key; empty for the in-process stand-in, which has none yet.
        dialect: ``ga`` or ``beta``.
        model: What goes into the query; Azure calls it the deployment.
        key_env: The environment variable that holds the key; ``None`` where none is needed.
        auth: How the key is sent: ``Authorization: Bearer`` or ``api-key``.
        token_env: A variable with an Entra token, used where the key is not set (Azure).
    """

    name: str
    url: str
    dialect: Name = "ga"
    model: str | None = None
    key_env: str | None = None
    auth: Literal["bearer", "api-key"] = "bearer"
    token_env: str | None = None

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
            if key and not (key.isascii() and key.isprintable()):
                raise EndpointError(
                    f"{self.key_env} holds characters that no key has (a line break, a quote?); set it again"
                )
            headers = (
                {"api-key": key} if key and self.auth == "api-key" else {"Authorization": f"Bearer {key or token}"}
            )
        if self.name == "openai":
            named = (("OpenAI-Organization", "OPENAI_ORG_ID"), ("OpenAI-Project", "OPENAI_PROJECT_ID"))
            headers |= {header: env[variable] for header, variable in named if env.get(variable)}
        if self.dialect == "beta" and self.name != "xai":
            headers["OpenAI-Beta"] = "realtime=v1"
        return headers

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
        parts = urlsplit(self.url)
        shown = ("model", "deployment", "api-version", "dialect", "intent")
        query = urlencode([(k, v if k in shown else "…") for k, v in parse_qsl(parts.query)], safe="…")
        return urlunsplit((parts.scheme, self.host, parts.path, query, ""))

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
    if isinstance(spec, Endpoint):
        return spec if model is None else replace(spec, model=model)
    if not isinstance(spec, str) or not spec.strip():
        raise EndpointError(f"an endpoint is a name ({', '.join(NAMES)}) or a ws:// URL, not {clipped(spec)}")
    env = os.environ if environ is None else environ
    d = dialect(dialect_name or "ga").name
    if spec == "standin":
        return Endpoint("standin", "", d, model or "gpt-realtime")
    if spec == "openai":
        base = env.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
        url = _with_query(_realtime(base), model=model or DEFAULT_MODEL)
        return Endpoint("openai", url, d, model or DEFAULT_MODEL, key_env or "OPENAI_API_KEY")
    if spec == "azure":
        return _azure(env, model, d, key_env)
    if spec == "xai":
        model = model or "grok-voice-latest"
        url = _with_query("wss://api.x.ai/v1/realtime", model=model)
        return Endpoint("xai", url, d, model, key_env or "XAI_API_KEY")
    if "://" not in spec:
        hint = f" (did you mean ws://{spec}?)" if ":" in spec or "/" in spec else ""
        raise EndpointError(
            f"no endpoint is called {clipped(spec)}; there are {', '.join(NAMES)}, and ws:// or wss:// URLs{hint}"
        )
    url = _realtime(spec)
    query = dict(parse_qsl(urlsplit(url).query))
    return Endpoint(
        "url",
        url if "model" in query or not model else _with_query(url, model=model),
        d,
        query.get("model", model),
        key_env,
    )


def _azure(env: Mapping[str, str], model: str | None, d: Name, key_env: str | None) -> Endpoint:
    resource = env.get("AZURE_OPENAI_ENDPOINT", "").rstrip("/")
    if not resource:
        raise EndpointError(
            "AZURE_OPENAI_ENDPOINT is not set; give your resource, such as https://NAME.openai.azure.com"
        )
    if not model:
        raise EndpointError("Azure needs the name of your deployment: connect('azure', model='my-deployment')")
    if d == "ga":
        url = _with_query(_realtime(f"{resource}/openai/v1"), model=model)
    else:
        version = env.get("OPENAI_API_VERSION", "2024-10-01-preview")
        url = _with_query(_realtime(f"{resource}/openai/realtime"), **{"api-version": version, "deployment": model})
    return Endpoint("azure", url, d, model, key_env or "AZURE_OPENAI_API_KEY", "api-key", "AZURE_OPENAI_AD_TOKEN")


def _realtime(base: str) -> str:
    """A base URL as the SDK makes it a Realtime address: http becomes ws, and ``/realtime`` follows ``…/v1``."""
    parts = urlsplit(base.strip())
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss") or not parts.hostname:
        raise EndpointError(
            f"{clipped(base)} is not an address of a Realtime server; it looks like wss://host/v1/realtime"
        )
    path = parts.path.rstrip("/")
    if path in ("", "/v1") or path.endswith("/v1"):
        path = f"{path or '/v1'}/realtime"
    return urlunsplit((scheme, parts.netloc, path, parts.query, ""))


def _with_query(url: str, **fields: str) -> str:
    parts = urlsplit(url)
    query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), *fields.items()])
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))
