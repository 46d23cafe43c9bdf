"""Where to connect and who pays: the official client's URL and headers, the key in one header only, prices that are known."""

from pathlib import Path

import openai
import pytest
from openai.lib import _azure_websocket, _websocket

import kit
from kit import Settings
from kit.endpoint import DEFAULT_MODEL, NAMES, PRICES, Endpoint, Price, endpoint
from kit.errors import EndpointError, InputError
from kit.services import COLUMNS, SERVICES, rows

KEY = "sk-canary-0123456789abcdef"
RESOURCE = "https://res.openai.azure.com"
OWN = ("user-agent", "accept", "content-type", "x-stainless")  # how the SDK describes itself


class Dialled(Exception):
    """The SDK was about to open a socket."""


@pytest.fixture
def environ(monkeypatch):
    """Neither we nor the SDK see a variable of this machine."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_API_VERSION"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "AZURE_OPENAI_ENDPOINT", "XAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)

    def put(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return put


@pytest.fixture
def dials(monkeypatch):
    """The URL and headers with which the official client would open its socket."""
    seen = {}

    def connect(url, *, additional_headers, **options):
        seen.update(url=url, headers=additional_headers)
        raise Dialled

    monkeypatch.setattr(_azure_websocket, "_AzureWebSocketConnect", connect)
    monkeypatch.setattr(_websocket, "_WebSocketConnect", connect)

    async def dial(manager):
        with pytest.raises(Dialled):
            await manager.enter()
        # a field that the SDK leaves out is a marker object, not text
        told = {name.lower(): value for name, value in seen["headers"].items() if isinstance(value, str)}
        return seen["url"], {name: value for name, value in told.items() if not name.startswith(OWN)}

    return dial


def ours(where):
    return where.url, {name.lower(): value for name, value in where.headers().items()}


def connection(client, dialect, model):
    return (client.realtime if dialect == "ga" else client.beta.realtime).connect(model=model)


# As the official client does it


@pytest.mark.parametrize("dialect", ["ga", "beta"])
@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OPENAI_ORG_ID": "org-1", "OPENAI_PROJECT_ID": "proj_1"},
        {"OPENAI_BASE_URL": "https://eu.api.openai.com/v1/"},
        {"OPENAI_BASE_URL": "https://gateway.example/llm", "OPENAI_ORG_ID": "org-1"},
        {"OPENAI_BASE_URL": "https://gateway.example"},
        {"OPENAI_BASE_URL": "https://gateway.example:8443/v1?team=a"},
    ],
)
async def test_openai_is_dialled_as_the_official_client_dials_it(dialect, variables, environ, dials):
    environ(OPENAI_API_KEY=KEY, **variables)

    async with openai.AsyncOpenAI() as client:
        theirs = await dials(connection(client, dialect, "gpt-realtime"))

    assert ours(endpoint("openai", model="gpt-realtime", dialect_name=dialect)) == theirs


async def test_a_local_base_url_is_dialled_in_the_clear(environ, dials):
    environ(OPENAI_API_KEY=KEY, OPENAI_BASE_URL="http://127.0.0.1:8765/v1")

    async with openai.AsyncOpenAI() as client:
        theirs = await dials(connection(client, "ga", "m"))

    assert ours(endpoint("openai", model="m")) == theirs


async def test_azure_ga_is_dialled_at_the_v1_address(environ, dials):
    environ(AZURE_OPENAI_API_KEY=KEY, AZURE_OPENAI_ENDPOINT=RESOURCE)

    async with openai.AsyncOpenAI(api_key=KEY, websocket_base_url=f"{RESOURCE}/openai/v1") as client:
        url, _ = await dials(connection(client, "ga", "my deployment"))

    where = endpoint("azure", model="my deployment")
    assert where.url == url
    assert where.headers() == {"api-key": KEY}


@pytest.mark.parametrize("secret", ["AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN"])
@pytest.mark.parametrize("version", ["2024-10-01-preview", "2025-04-01-preview"])
async def test_azure_beta_is_dialled_as_the_official_client_dials_it(secret, version, environ, dials):
    environ(**{secret: KEY}, AZURE_OPENAI_ENDPOINT=RESOURCE, OPENAI_API_VERSION=version)

    async with openai.AsyncAzureOpenAI() as client:
        theirs = await dials(connection(client, "beta", "dep"))

    assert ours(endpoint("azure", model="dep", dialect_name="beta")) == theirs


async def test_azure_prefers_the_token_where_both_are_set_as_the_official_client_does(environ, dials):
    environ(
        AZURE_OPENAI_API_KEY="other", AZURE_OPENAI_AD_TOKEN=KEY, AZURE_OPENAI_ENDPOINT=RESOURCE, OPENAI_API_VERSION="v"
    )

    async with openai.AsyncAzureOpenAI() as client:
        theirs = await dials(connection(client, "beta", "dep"))

    assert ours(endpoint("azure", model="dep", dialect_name="beta")) == theirs
    assert theirs[1]["authorization"] == f"Bearer {KEY}"


def test_xai_takes_a_bearer_key_and_no_beta_header():
    where = endpoint("xai", environ={})

    assert where.url == "wss://api.x.ai/v1/realtime?model=grok-voice-latest"
    assert where.headers({"XAI_API_KEY": KEY}) == {"Authorization": f"Bearer {KEY}"}


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("ws://localhost:8765", "ws://localhost:8765/v1/realtime"),
        ("ws://localhost:8765/", "ws://localhost:8765/v1/realtime"),
        ("https://host/v1", "wss://host/v1/realtime"),
        ("http://host/openai/v1/", "ws://host/openai/v1/realtime"),
        ("wss://host/v1/realtime", "wss://host/v1/realtime"),
        ("wss://host/live?tier=2", "wss://host/live?tier=2"),
        (" wss://host/live ", "wss://host/live"),
        ("ws://[::1]:80/live", "ws://[::1]:80/live"),
    ],
)
def test_a_url_is_made_an_address_of_a_realtime_server(given, made):
    assert endpoint(given, model="m").url == f"{made}{'&' if '?' in made else '?'}model=m"


def test_a_url_names_its_model_itself_or_is_told_it_and_only_on_this_machine_gets_the_default():
    assert endpoint("ws://h?model=a").model == "a"
    assert endpoint("ws://127.0.0.1").url == f"ws://127.0.0.1/v1/realtime?model={DEFAULT_MODEL}"
    assert endpoint("ws://h").url == "ws://h/v1/realtime"
    assert endpoint("ws://h?tier=2", model="b c").url == "ws://h/v1/realtime?tier=2&model=b+c"
    assert endpoint("ws://h?model=a", model="a").url == "ws://h/v1/realtime?model=a"


@pytest.mark.parametrize("dialect", ["ga", "beta"])
def test_another_model_goes_into_the_address_too(dialect):
    env = {"AZURE_OPENAI_ENDPOINT": RESOURCE}

    for where in (
        endpoint("openai", model="old", dialect_name=dialect, environ=env),
        endpoint("azure", model="old", dialect_name=dialect, environ=env),
    ):
        changed = endpoint(where, model="new")
        assert changed == endpoint(where.name, model="new", dialect_name=dialect, environ=env)
        assert "old" not in changed.url


@pytest.mark.parametrize("query", ["call_id=rtc_1", "intent=transcription"])
def test_a_url_that_joins_something_is_given_no_model(query):
    where = endpoint(f"ws://h?{query}")

    assert where.url == f"ws://h/v1/realtime?{query}"
    assert where.model is None


def test_an_endpoint_is_itself():
    where = endpoint("openai", environ={})

    assert endpoint(where) is where
    assert endpoint(where, model=DEFAULT_MODEL, dialect_name="ga") == where


def test_an_endpoint_of_one_dialect_is_not_bent_to_the_other():
    with pytest.raises(EndpointError, match="this endpoint speaks ga"):
        endpoint(endpoint("openai", environ={}), dialect_name="beta")


# Who pays


def test_the_stand_in_is_the_default_though_a_key_is_set(environ):
    environ(OPENAI_API_KEY=KEY)

    where = endpoint()

    assert (where.name, where.url, where.headers()) == ("standin", "", {})
    assert where.who_pays == "free, simulated"


def test_the_key_is_read_when_it_is_asked_for_and_kept_nowhere(environ):
    environ(OPENAI_API_KEY="sk-before")
    where = endpoint("openai")

    environ(OPENAI_API_KEY=f" {KEY}\n")

    assert where.headers()["Authorization"] == f"Bearer {KEY}"
    assert KEY not in repr(where) + str(where) + where._repr_html_() + where.url + where.shown_url + where.who_pays


@pytest.mark.parametrize("spec", ["standin", "ws://localhost:1", "wss://other.example/v1", "https://api.openai.com/v1"])
def test_no_key_goes_to_an_address_that_none_was_named_for(spec, environ):
    environ(OPENAI_API_KEY=KEY, AZURE_OPENAI_API_KEY=KEY, XAI_API_KEY=KEY, OPENAI_ORG_ID="org-1")

    where = endpoint(spec)

    assert where.headers() == {}
    assert "you pay" not in where.who_pays


def test_xai_and_azure_do_not_get_openais_key(environ):
    environ(OPENAI_API_KEY=KEY, AZURE_OPENAI_ENDPOINT=RESOURCE)

    for where in (endpoint("xai"), endpoint("azure", model="m")):
        with pytest.raises(EndpointError, match="is not set") as caught:
            where.headers()
        assert KEY not in str(caught.value)


def test_a_url_is_sent_the_key_that_was_named_for_it():
    where = endpoint("wss://other.example", key_env="OTHER_KEY")

    assert where.headers({"OTHER_KEY": KEY, "OPENAI_API_KEY": "x"}) == {"Authorization": f"Bearer {KEY}"}
    assert where.who_pays == "you pay: the key in OTHER_KEY; price unknown to the kit"


@pytest.mark.parametrize(
    ("name", "variables"),
    [
        ("openai", {"OPENAI_BASE_URL": "http://localhost:8765/v1"}),
        ("openai", {"OPENAI_BASE_URL": "https://api.openai.com.evil.example/v1"}),
        ("azure", {"AZURE_OPENAI_ENDPOINT": "https://gateway.example"}),
    ],
)
def test_a_service_that_is_led_elsewhere_is_not_called_that_service(name, variables):
    where = endpoint(name, model="gpt-realtime", environ=variables)

    assert (where.name, where.price) == ("url", None)


@pytest.mark.parametrize("host", ["api.openai.com", "eu.api.openai.com"])
def test_the_services_own_hosts_are_the_service(host):
    assert endpoint("openai", environ={"OPENAI_BASE_URL": f"https://{host}/v1"}).name == "openai"


# What is shown


@pytest.mark.parametrize(
    "url",
    [
        f"wss://user:{KEY}@host/v1/realtime?model=m",
        f"wss://host/v1/realtime?model=m&api-key={KEY}",
        f"wss://host/v1/realtime?{KEY}=&model=m#{KEY}",
    ],
)
def test_what_may_be_secret_in_a_url_is_not_shown(url):
    where = endpoint(url)

    assert KEY not in repr(where) + where._repr_html_() + where.shown_url + where.host
    assert "model=m" in where.shown_url


def test_hidden_fields_can_be_read_as_hidden():
    assert endpoint("wss://h/x?api-key=1&model=m").shown_url == "wss://h/x?api-key=***&model=m"


def test_markup_in_a_url_is_shown_as_text():
    assert "<b>" not in endpoint("wss://h/<b>?model=<b>", dialect_name="ga")._repr_html_()


def test_one_line_says_where_and_who_pays():
    assert repr(endpoint("openai", model="gpt-realtime-2.1", environ={})) == (
        "<Endpoint openai, wss://api.openai.com/v1/realtime?model=gpt-realtime-2.1, ga, "
        "you pay: the key in OPENAI_API_KEY; priced as of 2026-10>"
    )
    assert repr(endpoint()) == "<Endpoint standin, in this process, ga, free, simulated>"


# Bad input

AZURE = {"AZURE_OPENAI_ENDPOINT": RESOURCE}


@pytest.mark.parametrize(
    ("attempt", "value", "way_out"),
    [
        (lambda: endpoint("opanai"), "'opanai'", "openai"),
        (lambda: endpoint(""), "''", "standin"),
        (lambda: endpoint(None), "None", "standin"),
        (lambda: endpoint(8765), "8765", "ws:// URL"),
        (lambda: endpoint("localhost:8765"), "'localhost:8765'", "did you mean ws://localhost:8765?"),
        (lambda: endpoint("ftp://host/v1"), "ftp://host/v1", "wss://host/v1/realtime"),
        (lambda: endpoint("ws://"), "'ws://'", "wss://host/v1/realtime"),
        (lambda: endpoint("ws:///v1"), "'ws:///v1'", "wss://host/v1/realtime"),
        (lambda: endpoint("ws://host:99999"), "99999", "wss://host/v1/realtime"),
        (lambda: endpoint("ws://host:port"), "host:port", "wss://host/v1/realtime"),
        (lambda: endpoint("ws://[::1"), "[::1", "wss://host/v1/realtime"),
        (lambda: endpoint("ws://my host/v1"), "my host", "wss://host/v1/realtime"),
        (lambda: endpoint("ws://h?model=a", model="b"), "'a'", "give it once"),
        (lambda: endpoint("openai", model=""), "''", DEFAULT_MODEL),
        (lambda: endpoint("openai", model=5), "5", DEFAULT_MODEL),
        (lambda: endpoint("openai", dialect_name="gamma"), "'gamma'", "'beta'"),
        (lambda: endpoint("openai", dialect_name=""), "''", "'beta'"),
        (lambda: endpoint("azure", model="m", environ={}), "AZURE_OPENAI_ENDPOINT", "https://NAME.openai.azure.com"),
        (lambda: endpoint("azure", environ=AZURE), "deployment", "model="),
        (
            lambda: endpoint("azure", model="m", environ={"AZURE_OPENAI_ENDPOINT": "res.openai.azure.com"}),
            "AZURE_OPENAI_ENDPOINT",
            "https://",
        ),
        (
            lambda: endpoint("openai", environ={"OPENAI_BASE_URL": "api.openai.com/v1"}),
            "OPENAI_BASE_URL",
            "https://host/v1",
        ),
        (lambda: endpoint("openai", environ={}).headers({}), "OPENAI_API_KEY", "getpass()"),
        (lambda: endpoint("openai", environ={}).headers({"OPENAI_API_KEY": "  "}), "OPENAI_API_KEY", "getpass()"),
        (lambda: endpoint("xai", environ={}).headers({}), "XAI_API_KEY", "getpass()"),
        (lambda: endpoint("azure", model="m", environ=AZURE).headers({}), "AZURE_OPENAI_API_KEY", "getpass()"),
        (lambda: endpoint("wss://h", key_env="MY_KEY").headers({}), "MY_KEY", "getpass()"),
    ],
)
def test_bad_input_gets_one_sentence_that_names_the_value_and_the_way_out(attempt, value, way_out):
    with pytest.raises(InputError) as caught:
        attempt()

    sentence = str(caught.value)
    assert value in sentence
    assert way_out in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: endpoint(KEY),
        lambda: endpoint("openai", key_env=KEY),
        lambda: endpoint("openai", key_env=KEY[10:].replace("-", "") * 2),
        lambda: endpoint(f"host/v1?api-key={KEY}"),
        lambda: endpoint(f"htp://user:{KEY}@host/v1?api-key={KEY}#{KEY}"),
        lambda: endpoint(f"user:{KEY}@host/v1"),
        *(
            lambda bad=bad: endpoint("openai", environ={}).headers({"OPENAI_API_KEY": bad})
            for bad in (f"{KEY}\nX-Evil: 1", f'"{KEY}"', f"'{KEY}'", f"{KEY} ok", f"{KEY}é", f"{KEY}\x00")
        ),
        lambda: endpoint("openai", environ={}).headers({"OPENAI_API_KEY": "k", "OPENAI_ORG_ID": f"{KEY}\r\nX: 1"}),
        lambda: endpoint("azure", model="m", environ=AZURE).headers({"AZURE_OPENAI_AD_TOKEN": f"{KEY}\nX: 1"}),
    ],
)
def test_no_error_holds_a_key(attempt):
    with pytest.raises(EndpointError) as caught:
        attempt()

    assert KEY[10:] not in str(caught.value).replace("-", "")
    assert "canary" not in str(caught.value)
    assert "canary" not in repr(caught.value)


# Prices


def usage(text_in=0, audio_in=0, text_out=0, audio_out=0, cached=None, image_in=0):
    given = {"text_tokens": text_in, "audio_tokens": audio_in, "image_tokens": image_in}
    return {
        "input_tokens": text_in + audio_in + image_in,
        "output_tokens": text_out + audio_out,
        "input_token_details": given | {"cached_tokens_details": cached or {}},
        "output_token_details": {"text_tokens": text_out, "audio_tokens": audio_out},
    }


@pytest.mark.parametrize(
    ("model", "told", "usd"),
    [
        # GA text: 120 in, of which 64 cached, 7 out; the second turn; GA audio; a minute of user audio and one of reply
        ("gpt-realtime-mini", usage(120, 0, 7, cached={"text_tokens": 64}), (56 * 0.6 + 64 * 0.06 + 7 * 2.4) / 1e6),
        ("gpt-realtime-mini", usage(139, 0, 5, cached={"text_tokens": 128}), (11 * 0.6 + 128 * 0.06 + 5 * 2.4) / 1e6),
        ("gpt-realtime", usage(119, 13, 30, 91), (119 * 4 + 13 * 32 + 30 * 16 + 91 * 64) / 1e6),
        ("gpt-realtime", usage(0, 600, 0, 1200), 0.0192 + 0.0768),
        ("gpt-realtime-2.1", usage(0, 0, 61, 244), (61 * 24 + 244 * 64) / 1e6),
        ("gpt-realtime-2.1", usage(0, 100, cached={"audio_tokens": 64}), (36 * 32 + 64 * 0.4) / 1e6),
        ("gpt-realtime-2.1", usage(10, image_in=100, cached={"image_tokens": 64}), (10 * 4 + 36 * 5 + 64 * 0.5) / 1e6),
        ("gpt-realtime", usage(), 0),  # a failed response
    ],
)
def test_a_reply_costs_what_its_tokens_cost(model, told, usd):
    assert endpoint("openai", model=model, environ={}).price.usd(told) == pytest.approx(usd)


@pytest.mark.parametrize(
    "told",
    [
        {"total_tokens": 127, "input_tokens": 120, "output_tokens": 7},
        usage(120, 0, 7) | {"output_token_details": None},
        usage(120, 0, 7) | {"input_token_details": {"text_tokens": "120"}},
        usage(-120, 0, 7),
        usage(120, 0, 7) | {"total_tokens": 10**6},
        usage(120, 0, 7) | {"output_tokens": 7.0},
        usage(2**63, 0, 7),
        usage(10, 0, 7, cached={"text_tokens": 11}),
        {},
    ],
)
def test_tokens_that_nothing_accounts_for_cost_an_unknown_sum(told):
    assert PRICES["gpt-realtime"].usd(told) is None


def test_cached_tokens_that_are_not_told_apart_count_as_fresh():
    told = usage(120) | {"input_token_details": {"text_tokens": 120, "cached_tokens": 64}}

    assert PRICES["gpt-realtime"].usd(told) == pytest.approx(120 * 4 / 1e6)


@pytest.mark.parametrize("where", ["openai", "xai", "standin", "wss://host/v1/realtime?model=gpt-realtime"])
def test_a_price_that_is_not_known_is_none(where):
    model = "gpt-realtime-2026-01-12" if where == "openai" else None

    assert endpoint(where, model=model, environ={}).price is None


def test_every_price_says_when_and_where_it_was_read():
    for price in PRICES.values():
        assert isinstance(price, Price)
        assert price.as_of
        assert price.source


def test_an_endpoint_of_ones_own_is_shown_like_any_other():
    assert repr(Endpoint("url", "ws://h", "beta")) == "<Endpoint url, ws://h, beta, no key is sent>"


def test_a_user_and_a_password_are_secrets_encoded_and_not():
    where = endpoint("wss://me:pass%20word@h")
    assert {"me:pass word", "pass word", "bWU6cGFzcyB3b3Jk"} <= set(where.secrets(where.headers({})))

    basic = endpoint("wss://h", key_env="K", auth="basic")
    assert {"me:pass-word", "pass-word", "bWU6cGFzcy13b3Jk"} <= set(basic.secrets(basic.headers({"K": "me:pass-word"})))


# Services with a name


@pytest.mark.parametrize(
    ("name", "environ", "url", "header"),
    [
        (
            "azure-voice-live",
            {"AZURE_VOICELIVE_API_KEY": KEY, "AZURE_VOICELIVE_ENDPOINT": "https://r.services.ai.azure.com/"},
            "wss://r.services.ai.azure.com/voice-live/realtime?api-version=2025-10-01&model=m",
            {"api-key": KEY},
        ),
        (
            "elevenlabs",
            {"ELEVENLABS_API_KEY": KEY},
            "wss://api.elevenlabs.io/v1/convai/realtime",
            {"xi-api-key": KEY},
        ),
        (
            "inworld",
            {"INWORLD_API_KEY": KEY},
            "wss://api.inworld.ai/api/v1/realtime/session?key=kit&protocol=realtime",
            {"Authorization": f"Basic {KEY}"},
        ),
        (
            "stepfun",
            {"STEPFUN_API_KEY": KEY},
            "wss://api.stepfun.com/v1/realtime?model=m",
            {"Authorization": f"Bearer {KEY}"},
        ),
    ],
)
def test_a_service_with_a_name_is_reached_its_own_way(name, environ, url, header):
    where = endpoint(name, model="m", environ=environ)

    assert (where.name, where.url, where.headers(environ)) == (name, url, header)


def test_every_service_that_has_an_address_is_an_endpoint():
    for name in NAMES:
        if not name.startswith("azure"):
            assert endpoint(name, environ={}).name == name


def test_what_an_endpoint_can_do_is_known_by_its_name_and_its_host_and_else_not():
    assert endpoint("xai", environ={}).capabilities.answers_in_text is False
    assert endpoint("wss://w.cn-beijing.maas.aliyuncs.com/api-ws/v1/realtime").capabilities.keeps_ids is False
    assert endpoint("wss://api.openai.com/v1").capabilities == endpoint("openai", environ={}).capabilities
    assert endpoint("wss://aliyuncs.com.evil.example").capabilities.keeps_ids is None


def test_a_price_is_written_as_it_is_read():
    assert Price.parse("gpt-realtime-2.1") == PRICES["gpt-realtime-2.1"]
    price = Price.parse("text=4/0.4/24 audio=32/0.4/64")
    assert (price.audio, price.image, Price.parse(str(price))) == ((32, 0.4, 64), (0, 0), price)
    for text in (
        "",
        "text=4/0.4/24",
        "text=4/x/24 audio=32/0.4/64",
        "text=4/0.4 audio=32/0.4/64",
        "4",
        "text=1/1/1 audio=1/1/1 voice=1",
    ):
        with pytest.raises(InputError, match="price"):
            Price.parse(text)


def test_an_endpoint_without_a_name_is_called_by_its_host():
    where = endpoint("wss://user:pass@gateway.example:8443/v1/realtime?model=m")
    assert (where.name, where.label, endpoint("openai", environ={}).label) == ("url", "gateway.example:8443", "openai")
    assert Settings(where).name == "gateway.example:8443 m"


def test_every_row_of_what_is_known_says_from_where_and_is_in_the_docs():
    remarks = [service.can.remark for service in SERVICES.values()]
    lines = [(*COLUMNS, ""), ("---",) * (len(COLUMNS) + 1)]
    lines += [(*row, remark) for row, remark in zip(rows(), remarks, strict=True)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    assert table in (Path(kit.__file__).parent / "wire" / "README.md").read_text(encoding="utf-8")
    for service in SERVICES.values():
        assert service.can.known_from and service.can.source


def test_a_model_that_ends_says_when():
    assert "ends on 2027-01-20" in endpoint("openai", model="gpt-realtime", environ={}).who_pays
    assert endpoint("openai", environ={}).ends is None and endpoint("wss://h", model="gpt-realtime").ends is None


@pytest.mark.parametrize("rates", [(1, 2), (1, 2, -3), (1, 2, float("nan")), (1, 2, "3"), 5, (1, 2, True)])
def test_a_price_that_is_none_is_refused(rates):
    with pytest.raises(InputError, match="a price's text is 3 rates in USD per million tokens"):
        Price(text=rates, audio=(1, 1, 1), image=(1, 1))
