"""The services that the kit knows by name, and what each can do: one row each, shown by ``kit endpoints``.

What an endpoint cannot do is left out with the reason, instead of failing or measuring nothing: xAI always speaks, so drift to
text cannot be seen there. A row from documents or other people's code says so; ``None`` is not known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

ALL_ROLES = ("system", "user", "assistant")
HISTORY_HZ = 24_000  # of the sound that a `Clip` holds, and of that in a seeded item


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an endpoint can do, as far as it is known: ``None`` is not known, and is tried.

    ==================  ======================================================  ====================================================
    field               what it says                                            who reads it
    ==================  ======================================================  ====================================================
    keeps_ids           items keep the ids that they were sent with             seeding: what is not confirmed is asked for by its id
    echoes_metadata     a response carries the metadata of its request          `Session.respond`: where not, the kit sends no mark
    answers_in_text     it can be asked for text, and a reply can drift to it   plans: where not, every arm is left out
    deletes, truncates  it takes `conversation.item.delete`, `….truncate`       arms that delete; `Playback`, when interrupted
    counts_tokens       `response.done` has a usage that can be priced          budgets: where not, none can be kept
    seeds               the roles of which it takes text items                  `Session.seed` and `ask`, arms
    input_hz            the sample rate of the sound that it takes              `Session.append_audio`, `seed`
    ==================  ======================================================  ====================================================

    Attributes:
        known_from: ``tests``, ``recordings`` of its frames, ``documents``, or ``reports`` (other people's clients).
        source: Which.
        remark: What else a user should know.
    """

    keeps_ids: bool | None = None
    echoes_metadata: bool | None = None
    answers_in_text: bool | None = None
    deletes: bool | None = None
    truncates: bool | None = None
    counts_tokens: bool | None = None
    seeds: tuple[str, ...] | None = None
    input_hz: int | None = None
    known_from: Literal["tests", "recordings", "documents", "reports", ""] = ""
    source: str = ""
    remark: str = ""


# What is said of an endpoint where a plan or a session meets what it cannot do.
CANNOT = {
    "keeps_ids": "names items by ids of its own",
    "echoes_metadata": "does not echo metadata",
    "answers_in_text": "always speaks, so that drift to text cannot be seen",
    "deletes": "deletes no items",
    "truncates": "truncates no items",
    "counts_tokens": "counts no tokens, so that what it costs cannot be known",
}

UNKNOWN = Capabilities(remark="nothing is known of this endpoint")


@dataclass(frozen=True, slots=True)
class Service:
    """A service: how it is reached, and what it can do.

    Attributes:
        url: Its address; empty where that is the user's own resource (or, for the stand-in, this process).
        url_env: The environment variable with another address, as its own client reads it.
        resource: What the user's own address looks like.
        key_env: The environment variable that its own client reads the key from.
        token_env: A variable with a token, which is used rather than the key where both are set.
        auth: How the key is sent (`kit.endpoint.Auth`).
        dialect: ``ga`` or ``beta``: what it speaks.
        model: The model if none is named; ``None``: one has to be named, or the service has its own.
        model_in_url: The model goes into the query.
        domains: Hosts that are the service: it is the same service by its URL.
    """

    name: str
    # What it can do; of the others below, empty means that a user's own address or key is needed.
    can: Capabilities
    url: str = ""
    url_env: str = ""
    resource: str = ""
    key_env: str | None = None
    token_env: str | None = None
    auth: Literal["bearer", "api-key", "xi-api-key", "basic", "none"] = "bearer"
    dialect: Literal["ga", "beta"] = "ga"
    model: str | None = None
    model_in_url: bool = True
    domains: tuple[str, ...] = ()


# The service whose protocol it is, as recorded (kit/wire/README.md): the others are told by how they differ.
_OPENAI = Capabilities(True, True, True, True, True, True, ALL_ROLES, 24_000, "recordings", "kit/wire/README.md")

# fmt: off
_SERVICES = (
    # Held to its row by tests/test_probe.py.
    Service("standin", replace(_OPENAI, known_from="tests", source="kit/standin", remark="simulated")),
    Service(
        "openai", _OPENAI, url="https://api.openai.com/v1", url_env="OPENAI_BASE_URL", key_env="OPENAI_API_KEY",
        model="gpt-realtime-2.1", domains=("api.openai.com",),
    ),
    # The model is the deployment.
    Service(
        "azure", replace(_OPENAI, known_from="documents", source="learn.microsoft.com, realtime audio reference"),
        url_env="AZURE_OPENAI_ENDPOINT", resource="https://NAME.openai.azure.com", key_env="AZURE_OPENAI_API_KEY",
        token_env="AZURE_OPENAI_AD_TOKEN", auth="api-key", domains=("azure.com", "azure.us", "azure.cn"),
    ),
    # Another service on the same resource. Its metadata comes back since 2026-09 (pydantic-ai's recorded sessions).
    Service(
        "azure-voice-live",
        Capabilities(
            echoes_metadata=True, answers_in_text=True, counts_tokens=True, seeds=ALL_ROLES, input_hz=24_000,
            known_from="recordings", source="azure-ai-voicelive 1.3.1; pydantic-ai's recorded sessions of 2026-09",
            remark="beta's session shape with events of its own",
        ),
        url_env="AZURE_VOICELIVE_ENDPOINT", resource="https://NAME.services.ai.azure.com",
        key_env="AZURE_VOICELIVE_API_KEY", auth="api-key", dialect="beta", domains=("services.ai.azure.com",),
    ),
    # It ignores a request for text, says nothing of usage in `response.usage`, and keeps the ids of items.
    Service(
        "xai",
        Capabilities(
            keeps_ids=True, answers_in_text=False, seeds=ALL_ROLES, input_hz=24_000,
            known_from="reports", source="pydantic-ai-slim 2.68.0, litellm 1.110.2",
            remark="always speaks, so drift to text cannot be seen; may bill each text item that is seeded; usage beside the response",
        ),
        url="https://api.x.ai/v1", key_env="XAI_API_KEY", model="grok-voice-latest", domains=("api.x.ai",),
    ),
    # The model is a field of the session, not of the address.
    Service(
        "elevenlabs",
        Capabilities(
            answers_in_text=True, deletes=False, counts_tokens=False, known_from="reports", source="pydantic-ai-slim 2.68.0",
            remark="semantic turn detection only; 10 minutes, 1 minute idle",
        ),
        url="https://api.elevenlabs.io/v1/convai/realtime", key_env="ELEVENLABS_API_KEY", auth="xi-api-key", model_in_url=False,
        domains=("api.elevenlabs.io",),
    ),
    # ``key`` in its address is an id; the secret goes as Basic authorization (docs.inworld.ai).
    Service(
        "inworld",
        Capabilities(
            deletes=False, counts_tokens=False, known_from="reports", source="pipecat-ai 1.14.0; docs.inworld.ai",
            remark="a cascade: text is made first, and spoken by another model",
        ),
        url="https://api.inworld.ai/api/v1/realtime/session?key=kit&protocol=realtime", key_env="INWORLD_API_KEY", auth="basic",
        model_in_url=False, domains=("api.inworld.ai",),
    ),
    # No address of its own: each workspace has one. Which roles of a seeded history it takes is not verified.
    Service(
        "qwen",
        Capabilities(
            keeps_ids=False, echoes_metadata=False, answers_in_text=True, input_hz=16_000,
            known_from="reports", source="dashscope 2.0.2; sierra-research/tau2-bench",
            remark="give your workspace's URL; tools are nested as in chat",
        ),
        key_env="DASHSCOPE_API_KEY", dialect="beta", domains=("aliyuncs.com",),
    ),
    # Its SDK creates items of two kinds only: a user's text, and a function's output.
    Service(
        "glm",
        Capabilities(
            counts_tokens=False, seeds=("user",), known_from="reports", source="MetaGLM/glm-realtime-sdk",
            remark="takes no assistant items; wants beta_fields.chat_mode and WAV",
        ),
        url="https://open.bigmodel.cn/api/paas/v4/realtime", key_env="ZHIPUAI_API_KEY", dialect="beta", model_in_url=False,
        domains=("open.bigmodel.cn",),
    ),
    Service(
        "stepfun", Capabilities(known_from="documents", source="platform.stepfun.com", remark="30 minutes"),
        url="https://api.stepfun.com/v1", key_env="STEPFUN_API_KEY", dialect="beta", model="step-audio-2",
        domains=("api.stepfun.com",),
    ),
)
# fmt: on
SERVICES = {service.name: service for service in _SERVICES}
"""Every service that has a name, in the order in which they are shown. As of 2026-11."""


@lru_cache(maxsize=256)  # a session asks for each item that it seeds
def service_at(host: str) -> Service | None:
    """Return the service that a host belongs to, the most particular one: services.ai.azure.com before azure.com."""
    matches = [(len(domain), s.name) for s in _SERVICES for domain in s.domains if is_at(host, domain)]
    return SERVICES[max(matches)[1]] if matches else None


def is_at(host: str, *domains: str) -> bool:
    """Whether a host is one of these domains or below one."""
    return any(host == domain or host.endswith(f".{domain}") for domain in domains)


COLUMNS = ("name", "wire", "text", "ids kept", "metadata", "usage", "delete", "truncate", "seeds", "Hz", "from")
WORDS = {True: "yes", False: "no", None: "?"}


def rows() -> list[tuple[str, ...]]:
    """Return what each service can do in words, by `COLUMNS`."""
    rows = []
    for service in SERVICES.values():
        can = service.can
        flags = (can.answers_in_text, can.keeps_ids, can.echoes_metadata, can.counts_tokens, can.deletes, can.truncates)
        seeds = "?" if can.seeds is None else "all" if can.seeds == ALL_ROLES else ", ".join(can.seeds)
        hz = str(can.input_hz or "?")
        rows.append((service.name, service.dialect, *(WORDS[flag] for flag in flags), seeds, hz, can.known_from))
    return rows
