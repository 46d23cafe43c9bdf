"""The verbs of the terminal, run as a user runs them."""

import argparse
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from importlib.metadata import version

import pytest
from websockets.asyncio.server import serve
from websockets.sync.client import connect as websocket

from kit import connect
from kit.cli import _parser, main
from kit.cli.screen import in_flags, keep_sound
from kit.endpoint import endpoint
from kit.link import refusal

KIT = [sys.executable, "-m", "kit"]


def kit(*args, stdin="", **options):
    return subprocess.run([*KIT, *args], input=stdin, capture_output=True, text=True, timeout=60, **options)


def test_cases_prints_four_rows_and_succeeds():
    ran = kit("cases")

    rows = [line.split()[:5] for line in ran.stdout.splitlines()[1:5]]
    assert ran.returncode == 0
    assert [(row[0], row[2], row[4]) for row in rows] == [
        ("1a", "audio", "audio"),
        ("1b", "text", "text"),
        ("2a", "audio", "audio"),
        ("2b", "text", "text"),
    ]
    assert "stand-in: simulated" in ran.stdout


def test_a_case_goes_on_with_further_turns_and_keeps_the_sound(tmp_path):
    ran = kit("case", "1a", "--say", "Another one, please.", "--drift", "never", "--wav", str(tmp_path))

    assert ran.returncode == 0
    assert ran.stdout.count("♪ audio") == 2
    assert len(list(tmp_path.glob("*.wav"))) == 2


def test_a_case_and_a_chat_speak_gpt_live():
    live = ("--protocol", "live", "--pace", "6", "--live")
    silent = kit("case", "1b", *live, "silence=p=1@2")
    spoken = kit("chat", *live, "silence=never", "--say", "Tell me another joke.")

    assert (silent.returncode, spoken.returncode) == (0, 0)
    assert "∅ empty" in silent.stdout and "silent (inferred)" in silent.stdout
    assert "♪ audio" in spoken.stdout and "(inferred), " in spoken.stdout
    assert "switched on by itself" in kit("serve", "--live", "nonsense=1").stderr


def test_ctrl_c_is_quiet_also_while_the_kit_is_being_loaded():
    code = """import runpy, sys
class CtrlC:
    def find_spec(self, name, *_):
        if name == "kit.cli":
            raise KeyboardInterrupt
sys.meta_path.insert(0, CtrlC())
runpy.run_module("kit", run_name="__main__")"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "")


async def test_a_reply_is_kept_in_the_folder_whatever_the_server_calls_it(tmp_path):
    async with connect("standin", quiet=True) as session:
        response = await session.ask("Tell me a joke.")
    response.id = "../../outside"

    assert keep_sound(response, tmp_path / "kept").parent == tmp_path / "kept"


def test_chat_answers_each_line_that_is_piped_in():
    ran = kit("chat", "--dialect", "beta", stdin="Tell me a joke.\n\nThank you.\n/nosuch\n/quit\nnever said\n")

    assert ran.returncode == 0
    assert ran.stdout.count("audio  ") == 2


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (["case", "9z"], 2, "no case is called '9z'; there are 1a, 1b, 2a, 2b"),
        (["cases", "--endpoint", "openai"], 2, "OPENAI_API_KEY is not set"),
        (["cases", "--endpoint", "nowhere"], 2, "no endpoint is called 'nowhere'"),
        (["chat", "--endpoint", "ws://127.0.0.1:9"], 1, "cannot reach ws://127.0.0.1:9/v1/realtime"),
        (["cases", "--drift", "sometimes"], 2, "sometimes"),
        (["chat", "--wav", __file__], 2, "is a file; name a folder"),
        (["voice", "--seconds", "-3"], 2, "-3 is not a time; give seconds above 0"),
        (["serve", "--port", "99999"], 2, "99999"),
        (["serve", "--fault", "flood"], 2, "flood"),
        (["serve", "--host", "0.0.0.0"], 2, "can be reached by others"),
        (["serve", "--host", "0.0.0.0", "--key-env", "NO_SUCH_KEY"], 2, "NO_SUCH_KEY is not set"),
        (["serve", "--replies", "nowhere.json"], 2, "cannot read nowhere.json: No such file"),
        (["serve", "--replies", "/dev/zero"], 2, "cannot read /dev/zero: it is a device"),
    ],
)
def test_wrong_usage_is_one_sentence_and_no_traceback(args, code, sentence):
    ran = kit(*args)

    assert ran.returncode == code
    assert sentence in " ".join(ran.stderr.split())
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("args", [[], ["trials"]])
def test_without_a_verb_it_prints_help(args, capsys):
    assert main(args) == 0

    assert "verbs:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["studdy"], "no verb is called 'studdy'. Did you mean study? See kit --help"),
        (["trials", "rum"], "no verb is called 'rum'. Did you mean run? See kit trials --help"),
        (
            ["table", "--baselin=x", "y"],
            "`kit table` takes no option --baselin. Did you mean --baseline? See kit table --help",
        ),
        (["cases", "now"], "`kit cases` takes no further argument now. See kit cases --help"),
    ],
)
def test_what_was_probably_meant_is_said(args, sentence, capsys):
    with pytest.raises(SystemExit) as exit:
        main(args)

    assert exit.value.code == 2
    assert " ".join(capsys.readouterr().err.split()) == f"kit: {sentence}"


def test_an_option_has_one_form_in_every_verb():
    forms = {}
    for parser in parsers(_parser()):
        for action in parser._actions:
            for name in action.option_strings:
                forms.setdefault(name, set()).add((type(action).__name__, action.nargs))
    # one model is used in a session, several are compared in a study, which asks about GPT-Live by --live (elsewhere a switch of the
    # stand-in's); a repeated option replaces or adds, never takes a list
    assert {name for name, kinds in forms.items() if len(kinds) > 1} == {"--model", "--live"}
    assert {nargs for kinds in forms.values() for _, nargs in kinds} <= {None, 0}


def parsers(parser):
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                yield from parsers(verb)


def test_sentences_name_flags_and_no_python_arguments(tmp_path, capsys):
    assert main(["serve", "--host", "0.0.0.0"]) == 2
    assert "give --key-env" in (said := " ".join(capsys.readouterr().err.split())) and "require_key" not in said
    assert main(["table", str(tmp_path / "none.sqlite")]) != 0
    assert "kit trials run PLAN LEDGER makes one" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    "words, flag",
    [
        (["--endpoint", "ws://127.0.0.1:9/v1/realtime", "--auth", "api-key"], "--auth api-key needs"),
        (["--endpoint", "ws://127.0.0.1:9/v1/realtime", "--auth", "api-key"], "the key: --key-env NAME"),
        (["--endpoint", "ws://127.0.0.1:9/v1/realtime", "--key-env", "sk-1"], "--key-env takes the name"),
        (["--endpoint", "azure"], "your deployment: --model my-deployment"),
        (["--call-id", "rtc_1"], "--endpoint openai --call-id rtc_…"),
    ],
)
def test_a_mistyped_endpoint_option_is_answered_by_flags(words, flag, capsys, monkeypatch):
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://x.openai.azure.com")

    assert main(["chat", *words]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert flag in said and not re.search(r"\b[a-z_]+=['…]", said)


def test_a_server_that_wants_a_key_is_told_one_by_a_flag():
    refused = refusal(endpoint("ws://127.0.0.1:9/v1/realtime"), None, "Unauthorized", 401)

    assert in_flags(refused).endswith("This server wants a key: --key-env NAME.")


def test_lab_passes_every_option_on_to_jupyterlab():
    ran = kit("lab", "--version")

    assert ran.returncode == 0
    assert ran.stdout.splitlines()[-1] == version("jupyterlab")


@pytest.fixture
def served():
    """A stand-in served from another process: (its URL, the process)."""
    with subprocess.Popen([*KIT, "serve", "--port", "0"], stdout=subprocess.PIPE, text=True) as process:
        yield process.stdout.readline().strip(), process
        process.terminate()


def test_serve_prints_its_url_first_and_any_client_can_use_it(served):
    url, _ = served

    with websocket(f"{url}?model=gpt-realtime") as ws:
        assert json.loads(ws.recv())["type"] == "session.created"


def test_the_kit_finds_out_that_a_served_stand_in_is_simulated(served):
    url, _ = served

    ran = kit("case", "1b", "--endpoint", url)

    assert ran.returncode == 0
    assert "a stand-in: free, simulated" in ran.stdout and "¶ text" in ran.stdout


def test_serve_ends_cleanly_on_an_interrupt(served):
    _, process = served

    process.send_signal(signal.SIGINT)

    assert process.wait(timeout=10) == 0


def test_a_served_stand_in_fails_on_demand():
    with subprocess.Popen(
        [*KIT, "serve", "--port", "0", "--fault", "failed"], stdout=subprocess.PIPE, text=True
    ) as process:
        ran = kit("chat", "--endpoint", process.stdout.readline().strip(), "--say", "Tell me a joke.")
        process.terminate()

    assert "failed" in ran.stdout


def test_a_port_that_is_taken_is_said(served):
    url, _ = served
    port = url.split(":")[2].split("/")[0]

    ran = kit("serve", "--port", port)

    assert ran.returncode == 2 and f"cannot listen on 127.0.0.1:{port}" in ran.stderr


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_a_case_goes_on_by_typing_where_there_is_a_terminal():
    import pty

    keyboard, terminal = pty.openpty()
    with subprocess.Popen([*KIT, "case", "1b"], stdin=terminal, stdout=subprocess.PIPE, text=True) as process:
        os.write(keyboard, b"One more, please.\r/quit\r")
        shown, _ = process.communicate(timeout=30)
    os.close(keyboard)
    os.close(terminal)

    assert process.returncode == 0
    assert shown.count("¶ text") == 2


async def test_what_a_server_names_its_things_is_text_and_stays_in_the_folder(tmp_path):
    async def evil(ws):
        response = {"id": "../../evil", "object": "realtime.response", "output": []}
        sound = {"response_id": response["id"], "item_id": "i", "output_index": 0, "content_index": 0}
        await ws.send(json.dumps({"type": "session.created", "session": {"id": "s", "model": "[/red]\x1b[31m"}}))
        async for frame in ws:
            event = json.loads(frame)
            if event["type"] == "conversation.item.create":
                await ws.send(json.dumps({"type": "conversation.item.added", "item": event["item"]}))
            elif event["type"] == "response.create":
                response |= {"metadata": event["response"]["metadata"], "status": "in_progress"}
                await ws.send(json.dumps({"type": "response.created", "response": response}))
                await ws.send(json.dumps({"type": "response.output_audio.delta", "delta": "AAAA" * 16, **sound}))
                ended = {"status": "incomplete", "status_details": {"reason": "[/red]\x1b[31m"}}
                await ws.send(json.dumps({"type": "response.done", "response": response | ended}))

    folder = tmp_path / "a" / "b" / "c"
    async with serve(evil, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for verb in ("cases", "chat"):
            ran = await asyncio.to_thread(kit, verb, "--endpoint", url, "--wav", str(folder), stdin="Hello.\n")

            assert (ran.returncode, ran.stderr) == (0, "")
            assert "[/red]‹U+001B›[31m" in ran.stdout and "\x1b" not in ran.stdout
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [folder / "evil.wav"]


def test_endpoints_lists_what_each_can_do():
    ran = kit("endpoints", "--json")
    rows = {row["name"]: row for row in json.loads(ran.stdout)}

    assert rows["xai"]["answers_in_text"] is False and rows["openai"]["key_env"] == "OPENAI_API_KEY"
    assert "always speaks" in kit("endpoints").stdout


def test_a_key_goes_the_way_that_a_url_wants_it_and_headers_with_it(monkeypatch, tmp_path):
    seen = {}

    async def talk(ws):
        seen.update(ws.request.headers)
        await ws.send(json.dumps({"type": "session.created", "session": {"id": "sess_1"}}))
        await ws.wait_closed()

    async def run():
        async with serve(talk, "127.0.0.1", 0) as server:
            url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            options = ["--endpoint", url, "--key-env", "KEY", "--auth", "xi-api-key", "--header", "X-Team: blue"]
            return await asyncio.to_thread(kit, "chat", *options)

    monkeypatch.setenv("KEY", "the-key")
    ran = asyncio.run(run())

    assert seen["xi-api-key"] == "the-key" and seen["x-team"] == "blue"
    assert "blue" not in ran.stdout + ran.stderr and "the-key" not in ran.stdout + ran.stderr
