"""The stand-in in somebody's CI: rules, options per connection, the journal, TLS, times; over real sockets."""

import asyncio
import functools
import http.server
import json
import shutil
import ssl
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

import pytest
import websockets
from talk import talk

from kit import Clip, History, connect
from kit.errors import InputError
from kit.standin import Call, ReplyRule, StandIn
from kit.standin import journal as journal_module
from kit.standin.replies import _Searcher
from kit.wire.live_conversation import ReplyPolicy

HISTORY = History().user("Tell me a joke.").assistant("It waves.")
EXAMPLES = Path(__file__).parents[1] / "kit" / "standin" / "examples"
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
RULES = [
    ReplyRule(r"weather in (?P<city>\w+)", Call("get_weather", {"city": r"\g<city>", "days": [r"\1", 2]})),
    ReplyRule("", "All right, I will do that.", after="get_weather"),
    {"when": "^good morning", "reply": "Hello. What would you like to hear?"},
    {"when": "think", "reply": {"commentary": "All right, I will do that.", "answer": "Yes, I am listening."}},
]


def words_of(response):
    return [
        part.get("text") or part.get("transcript") for item in response["output"] for part in item.get("content", [])
    ]


async def get(server, path, method="GET", key=None):
    """(status, JSON or text) of a plain request."""

    def send():
        url = server.url.replace("ws://", "http://").removesuffix("/v1/realtime") + path
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        request = urllib.request.Request(url, headers=headers, method=method)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
                status, body = answer.status, answer.read()
        except urllib.error.HTTPError as exc:
            with exc:
                status, body = exc.code, exc.read()
        return status, json.loads(body) if body[:1] in b"{[" else body.decode()

    return await asyncio.to_thread(send)


# Rules


async def test_a_rule_calls_a_tool_with_what_was_said_and_another_answers_its_output():
    async with StandIn(drift="never", rules=RULES) as server, talk(server) as t:
        await t.say("user", "What is the weather in Paris?")
        call = (await t.respond())["output"][0]
        await t.add({"type": "function_call_output", "call_id": call["call_id"], "output": "Rain."})
        after = await t.respond()

    assert (call["name"], json.loads(call["arguments"])) == ("get_weather", {"city": "Paris", "days": ["Paris", 2]})
    assert words_of(after) == ["All right, I will do that."]


async def test_the_first_rule_that_matches_answers_and_what_none_matches_comes_from_the_repertoire():
    async with StandIn(drift="never", rules=RULES) as server, talk(server) as t:
        await t.say("user", "Good MORNING, think of me.")
        first = words_of(await t.respond())
        await t.say("user", "Please think.")
        second = words_of(await t.respond())
        await t.say("user", "Goodbye.")
        third = words_of(await t.respond())

    assert first == ["Hello. What would you like to hear?"]
    assert second == ["All right, I will do that.", "Yes, I am listening."]
    assert third and third[0] not in (*first, *second)


async def test_a_strict_stand_in_fails_what_no_rule_matches_and_says_so():
    async with StandIn(rules=RULES, strict=True) as server, talk(server) as t:
        await t.say("user", "Something else.")
        failed = await t.respond()
        await t.say("user", "Good morning.")
        answered = await t.respond()

    assert (failed["status"], failed["status_details"]["error"]["code"]) == ("failed", "no_rule_matches")
    assert "'Something else.'" in failed["status_details"]["error"]["message"]
    assert answered["status"] == "completed"


@pytest.mark.parametrize(
    "rule",
    [
        {"when": "(", "reply": "x"},
        {"when": "a", "reply": r"\1"},
        {"when": "a", "reply": Call("f", {"a": r"\g<nobody>"})},
        {"when": 1, "reply": "x"},
        {"when": "a"},
        {"when": "a", "reply": 7},
        {"when": "(" * 100_000, "reply": "x"},
        {"when": "a{99999999999}", "reply": "x"},
        {"when": "a", "reply": "\ud800"},
        {"when": "(?:(?:(?:|){1000}){1000}){1000}", "reply": "x"},  # takes for ever on no words at all
        {"when": "a", "reply": "x", "then": 1},
        "a",
    ],
)
def test_a_rule_that_cannot_work_is_refused_at_once(rule):
    with pytest.raises(InputError):
        StandIn(rules=[rule])


async def test_a_rule_that_takes_for_ever_or_says_too_much_fails_its_response_and_is_named(monkeypatch):
    monkeypatch.setattr(_Searcher, "LIMIT_S", 0.2)
    rules = [
        ReplyRule("(a+)+$", "x"),
        ReplyRule("(b.*)", r"\1" * 2_000),
        ReplyRule("d+", r"\g<0>" * 900),
        ReplyRule("c", "Yes, I am listening."),
    ]
    async with StandIn(rules=rules) as server, talk(server) as t:
        replies = []
        for words in ("a" * 40 + "!", "b" * 60, "d" * 9, "c"):
            await t.say("user", words)
            replies.append(await t.respond())

    errors = [(reply["status_details"] or {}).get("error") for reply in replies]
    assert [error and error["code"] for error in errors] == [*["rule_fails"] * 3, None]
    assert "'(a+)+$' cannot work: it takes longer" in errors[0]["message"]
    assert "'(b.*)' cannot work: the reply would have more than" in errors[1]["message"]
    assert "too long to say" in errors[2]["message"]
    assert words_of(replies[3]) == ["Yes, I am listening."]


async def test_a_rule_that_takes_long_keeps_no_other_session_waiting(monkeypatch):
    monkeypatch.setattr(_Searcher, "LIMIT_S", 0.5)
    async with StandIn(rules=[ReplyRule("(a+)+$", "x")]) as server, talk(server) as t, talk(server) as u:
        await t.say("user", "a" * 40 + "!")
        await t.send("response.create")
        slow = asyncio.create_task(t.until("response.done"))
        await t.socket.ping()  # the request is there
        await u.say("user", "Hello.")

        assert not slow.done()
        assert (await slow)["response"]["status"] == "failed"


@pytest.mark.parametrize(
    "options",
    [{"strict": True}, {"replies": ["Yes, I am listening."], "rules": RULES}],
)
def test_options_that_exclude_each_other_are_refused(options):
    with pytest.raises(InputError):
        StandIn(**options)


# Per connection


async def test_parallel_tests_share_one_server_each_with_its_own_options():
    headers = {"X-Stand-In-Drift": "always", "X-Stand-In-Faults": "incomplete@1, failed@2"}
    async with (
        StandIn(drift="never") as server,
        talk(server, drift="always", seed=4) as text,
        talk(server, replies='["Yes, I am listening."]') as scripted,
        talk(server, fault="failed") as failing,
        talk(server, headers=headers) as by_header,
        talk(server) as plain,
    ):
        everyone = (text, scripted, failing, by_header, plain)
        for t in everyone:
            await t.say("user", "Tell me a joke.")
        answers = [await t.respond() for t in everyone]
        again = await by_header.respond()
        mark = text.socket.response.headers["X-Stand-In"]

    assert [a["status"] for a in answers] == ["completed", "completed", "failed", "incomplete", "completed"]
    assert answers[0]["output"][0]["content"][0]["type"] == "output_text"
    assert words_of(answers[1]) == ["Yes, I am listening."]
    assert answers[4]["output"][0]["content"][0]["type"] == "output_audio"
    assert again["status"] == "failed"
    assert mark == "realtime-history-kit; drift=always; seed=4"
    assert text.events[0]["session"]["simulated"]["drift"] == "always"


@pytest.mark.parametrize(
    "query", ["drift=sometimes", "fault=nope", "pace=fast", "seed=x", "replies=hello", "strict=1", "first_ms=-1"]
)
async def test_an_option_that_cannot_be_is_refused_in_a_sentence(query):
    async with StandIn() as server:
        status, text = await get(server, f"/v1/realtime?model=gpt-realtime&{query}")

    assert status == 400 and len(text) > 20


async def test_each_fault_of_a_list_comes():
    async with StandIn(faults=["failed", "incomplete", "rate-limit"]) as server, talk(server) as t:
        await t.say("user", "Tell me a joke.")
        ends = [(await t.respond())["status"] for _ in range(4)]

    assert ends == ["failed", "incomplete", "failed", "completed"]


@pytest.mark.parametrize("faults", [["drop@every", "stall"], ["drop@1-3", "stall@2"], ["drop@1", "stall@1"]])
def test_a_fault_that_can_never_come_is_refused(faults):
    with pytest.raises(InputError, match="never comes"):
        StandIn(faults=faults)


# The journal


@pytest.mark.refusal
async def test_the_journal_shows_what_each_client_sent_and_the_conversation_it_became():
    async with StandIn(drift="never", journal=True) as server:
        async with talk(server, trial="a") as t:
            await t.say("user", "Tell me a joke.")
            await t.say("assistant", "No.")
            await t.add(t.user_audio(bytes(48_000)))
            await t.raw("{nope")
            await t.until("error")
            open_one = (await get(server, "/journal"))[1]["connections"][0]
        async with talk(server, trial="b", headers={"Authorization": "Bearer sk-secret"}) as t:
            await t.respond()
        status, whole = await get(server, "/journal")
        only_b = (await get(server, "/journal?trial=b"))[1]["connections"]
        deleted = await get(server, "/journal?trial=a", "DELETE")
        rest = (await get(server, "/journal"))[1]["connections"]

    first = whole["connections"][0]
    assert status == 200 and [entry["trial"] for entry in whole["connections"]] == ["a", "b"]
    assert open_one["closed"] is None and first["closed"]["code"] == 1000
    texts = [part.get("text") for item in first["conversation"] for part in item["content"]]
    assert texts == ["Tell me a joke.", "No.", None]
    kinds = [sent["event"].get("type") for sent in first["sent"]]
    assert kinds == ["conversation.item.create"] * 3 + [None]
    assert first["sent"][3] == {"at_ms": first["sent"][3]["at_ms"], "event": {"raw": "{nope"}, "refused": True}
    assert first["sent"][2]["event"]["item"]["content"][0]["audio"].endswith(":48000")
    assert [entry["trial"] for entry in only_b] == ["b"] and deleted == (200, {"deleted": 1})
    assert [entry["trial"] for entry in rest] == ["b"]
    assert "sk-secret" not in json.dumps(whole)


async def test_the_journal_wants_the_key_and_no_foreign_page_reads_it():
    async with StandIn(journal=True, require_key="sk-right") as server:
        assert (await get(server, "/journal"))[0] == 401
        assert (await get(server, "/journal", "DELETE"))[0] == 401
        assert (await get(server, "/journal", key="sk-right"))[0] == 200
        url = server.url.replace("ws://", "http://").removesuffix("/v1/realtime")
        request = urllib.request.Request(f"{url}/journal", headers={"Origin": "https://evil.example"})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            await asyncio.to_thread(urllib.request.urlopen, request)


async def test_without_a_journal_it_says_how_to_get_one():
    async with StandIn() as server:
        status, text = await get(server, "/journal")

    assert status == 404 and "journal=True" in text


async def test_the_journal_is_bounded(monkeypatch):
    monkeypatch.setattr(journal_module, "MAX_CONNECTIONS", 2)
    monkeypatch.setattr(journal_module, "MAX_CONNECTION_BYTES", 1_000)
    async with StandIn(journal=True) as server:
        for trial in "abc":
            async with talk(server, trial=trial) as t:
                for _ in range(20):
                    await t.say("user", "x" * 100)
        _, whole = await get(server, "/journal")

    assert [entry["trial"] for entry in whole["connections"]] == ["b", "c"] and whole["forgotten"] == 1
    kept = whole["connections"][0]
    assert len(kept["sent"]) + kept["not_kept"] == 20 and kept["not_kept"] > 5


async def test_health():
    async with StandIn(require_key="sk-right") as server:
        assert await get(server, "/health") == (200, {"status": "ok", "sessions": 0})


# Times


async def test_the_first_content_and_the_pace_of_tokens_can_be_set():
    async with StandIn(drift="always", first_ms=150, token_ms=20) as server, talk(server) as t:
        await t.say("user", "Hello.")
        await t.send("response.create")
        await t.until("response.created")
        began = time.monotonic()
        await t.until("response.output_text.delta")
        first_s = time.monotonic() - began
        await t.until("response.done")
        n = t.types.count("response.output_text.delta")
        whole_s = time.monotonic() - began

    assert first_s >= 0.14
    assert whole_s - first_s >= 0.02 * (n - 1)


# TLS


async def test_with_tls_a_client_that_trusts_its_certificate_gets_in_and_no_other():
    async with StandIn(tls=True) as server:
        assert server.url.startswith("wss://127.0.0.1:")
        url = f"{server.url}?model=gpt-realtime"
        trust = ssl.create_default_context(cafile=server.ca_path)
        async with websockets.connect(url, ssl=trust, proxy=None) as socket:
            assert "session.created" in await socket.recv()
        with pytest.raises(ssl.SSLError):
            async with websockets.connect(url, proxy=None):
                pass
    assert "PRIVATE" not in server.ca_path.read_text()


async def test_a_client_that_speaks_tls_where_there_is_none_is_noticed():
    notices = []
    async with StandIn(on_notice=notices.append) as server:
        with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
            async with websockets.connect(server.url.replace("ws://", "wss://"), proxy=None):
                pass

    assert len(notices) == 1 and "TLS" in notices[0]


# Other languages: the files that kit/standin/README.md shows


async def run(*command, env=None):
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env)
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, output.decode()


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
@pytest.mark.parametrize("tls", [False, True])
async def test_the_example_for_node_runs(tls):
    import os

    async with StandIn(drift="never", rules=RULES, tls=tls) as server:
        env = os.environ | ({"NODE_EXTRA_CA_CERTS": str(server.ca_path)} if tls else {})
        code, output = await run("node", "--experimental-websocket", str(EXAMPLES / "client.mjs"), server.url, env=env)

    assert code == 0, output
    assert "Hello. What would you like to hear?" in output


GO_LIBRARIES = Path("/usr/share/gocode")  # where Debian puts them: golang-github-gorilla-websocket-dev


@pytest.mark.skipif(
    shutil.which("go") is None or not (GO_LIBRARIES / "src/github.com/gorilla/websocket").exists(),
    reason="Go or its library is not installed",
)
async def test_the_example_for_go_runs(tmp_path):
    import os

    env = os.environ | {"GO111MODULE": "off", "GOPATH": str(GO_LIBRARIES), "GOCACHE": str(tmp_path)}
    async with StandIn(drift="never", rules=RULES) as server:
        code, output = await run("go", "run", str(EXAMPLES / "client.go"), server.url, env=env)

    assert (code, output.strip()) == (0, "Hello. What would you like to hear?")


async def test_the_example_for_a_browser_runs():
    from browser import CHROMIUM, chromium

    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    handler = functools.partial(QuietFiles, directory=EXAMPLES)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as pages:
        threading.Thread(target=pages.serve_forever, daemon=True).start()

        def look(url):
            with chromium() as page:
                page.goto(f"http://127.0.0.1:{pages.server_port}/browser.html?{url}")
                page.wait_for_function("document.getElementById('log').textContent.includes('closed with')")
                return page.inner_text("#log").splitlines()

        async with StandIn(drift="never", rules=RULES) as server:
            words, sound, end = await asyncio.to_thread(look, server.url)
        pages.shutdown()

    assert words == "Hello. What would you like to hear?"
    assert float(sound.split()[0]) > 1 and end.startswith("closed with 1005")


class QuietFiles(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.mark.skipif(shutil.which("javac") is None, reason="no Java compiler is installed")
async def test_the_example_for_java_runs():
    async with StandIn(drift="never", rules=RULES) as server:
        code, output = await run("java", str(EXAMPLES / "Client.java"), server.url)

    assert code == 0, output
    assert "Hello. What would you like to hear?" in output


# In a terminal


async def served(*options):
    """A `kit serve` of its own: the process and its first lines, up to the one that says how to end it."""
    import sys

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "kit", "serve", "--port", "0", *options, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    lines = []
    while not lines or "Ctrl-C" not in lines[-1]:
        line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode().strip()
        if not line:
            raise AssertionError((await process.stderr.read()).decode())
        lines.append(line)
    return process, lines


async def test_serve_with_rules_a_log_and_tls(tmp_path):
    from kit.eventlog import read_log

    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps([{"when": "morning", "reply": "Hello. What would you like to hear?"}]))
    process, lines = await served(
        "--rules", str(rules), "--strict", "--log", str(tmp_path / "logs"), "--tls", "--drift", "never"
    )
    url, ca = lines[0], lines[1].rpartition("=")[2]
    trust = ssl.create_default_context(cafile=ca)
    async with websockets.connect(f"{url}?model=gpt-realtime", ssl=trust, proxy=None) as socket:
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Good morning."}]}
        await socket.send(json.dumps({"type": "conversation.item.create", "item": item}))
        await socket.send('{"type":"response.create"}')
        while "response.done" not in (frame := await socket.recv())[:30]:
            pass
    process.terminate()
    code = await asyncio.wait_for(process.wait(), 30)
    (log,) = (tmp_path / "logs").glob("*.jsonl")

    assert code == 0 and "Hello. What would you like to hear?" in frame
    (session,) = read_log(log).sessions
    assert [(r.transcript, r.modality, r.simulated) for r in session.responses] == [
        ("Hello. What would you like to hear?", "audio", True)
    ]


async def test_a_gpt_live_connection_has_its_own_options_and_the_journal_its_conversation():
    async def asked(server, query):
        url = server.url.partition("?")[0].replace("/v1/realtime", "/v1/live/sessions") + f"?{query}"
        async with connect(url, protocol="live", quiet=True) as session:
            session.configure(policy=ReplyPolicy(deadline_ms=1_500, window_ms=1_500))
            await session.seed(HISTORY)
            return (await session.ask(Clip.named("tell-me-a-joke"))).words

    async with StandIn(journal=True, live={"silence": "always"}) as server:
        own = "drift=never&replies=[%22Nice belt.%22]&trial=a"
        words = await asyncio.gather(asked(server, own), asked(server, "trial=b"))
        by_trial = {entry["trial"]: entry for entry in server.journal.show({})["connections"]}

    assert words == ["Nice belt.", ""]
    assert (by_trial["a"]["drift"], by_trial["b"]["drift"]) == ("never", "always")
    assert by_trial["a"]["session"].startswith("live_u")
    texts = [(item["role"], item["content"][0]["text"]) for item in by_trial["a"]["conversation"]]
    assert [text for _, text in texts[: len(HISTORY)]] == [item.text for item in HISTORY]
    assert [role for role, _ in texts[len(HISTORY) :]] == ["user", "assistant"] and texts[-1][1] == "Nice belt."


@pytest.mark.parametrize("query", ["rules=[]", "drift=share=0.2", "pace=0", "replies=[{}]", "fault=stall"])
async def test_what_means_nothing_to_a_gpt_live_connection_is_refused_in_a_sentence(query):
    async with StandIn() as server:
        url = server.url.partition("?")[0].replace("/v1/realtime", "/v1/live/sessions") + f"?{query}"
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with websockets.connect(url):
                pass

    assert refused.value.response.status_code == 400 and len(refused.value.response.body) > 20


def test_what_does_not_go_beside_a_replay_is_refused(capsys):
    from kit.cli import main

    assert main(["serve", "--port", "0", "--replay", "x.jsonl", "--drift", "never", "--fault", "drop"]) == 2
    assert "--drift, --fault" in capsys.readouterr().err


def test_an_address_that_others_reach_needs_a_key_and_the_flag_is_named(capsys):
    from kit.cli import main

    assert main(["serve", "--port", "0", "--host", "0.0.0.0"]) == 2
    assert "--key-env" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--rules", "--replies"])
def test_a_pipe_is_no_file_of_rules(option, tmp_path, capsys):
    import os

    from kit.cli import main

    os.mkfifo(tmp_path / "pipe")
    assert main(["serve", "--port", "0", option, str(tmp_path / "pipe")]) == 2
    assert "it is a pipe" in capsys.readouterr().err
