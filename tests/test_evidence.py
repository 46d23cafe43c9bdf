"""The evidence bundle: what is in it, what is not, and that its script makes the effect happen again."""

import ast
import asyncio
import csv
import io
import json
import os
import sqlite3
import subprocess
import sys
import zipfile
import zlib
from contextlib import closing

import pytest

from kit import Clip, Plan, arms, cases, connect, run
from kit.cli import main
from kit.errors import InputError, LedgerError
from kit.eventlog import read_log
from kit.plots.timeline import timeline
from kit.reporting import bundle
from kit.standin import StandIn

both = pytest.mark.parametrize("dialect", ["ga", "beta"])


def standin(**options):
    return connect("standin", quiet=True, **options)


async def talk(path, case, dialect="ga", turn="One more, please.", **options):
    async with standin(log=path, dialect=dialect, **options) as session:
        await session.seed(case.history)
        await session.respond()
        await session.ask(turn)


def unpacked(path):
    with zipfile.ZipFile(path) as file:
        return {name.partition("/")[2]: file.read(name).decode() for name in file.namelist()}


def reproduce(folder, url):
    script = folder / "reproduce.py"
    env = {"PATH": os.environ["PATH"]}
    return subprocess.run(
        [sys.executable, "-I", str(script), url], capture_output=True, text=True, cwd=folder, env=env, timeout=60
    )


@pytest.fixture
async def server():
    async with StandIn() as server:
        yield server


@both
@pytest.mark.parametrize("name", ["1b", "2b"])
async def test_the_script_needs_only_websockets_and_sees_the_effect(tmp_path, server, dialect, name):
    await talk(tmp_path / "x.jsonl", cases.case(name), dialect)

    made = bundle(tmp_path / "x.jsonl", tmp_path / "evidence.zip")
    (tmp_path / "reproduce.py").write_text(unpacked(made.path)["reproduce.py"])

    out = await asyncio.to_thread(reproduce, tmp_path, f"{server.url}?model=gpt-realtime")

    assert out.returncode == 0, out.stdout + out.stderr
    assert "completed: text" in out.stdout and "1 of 1 last replies came as text" in out.stdout
    imports = [
        line.split()[1]
        for line in unpacked(made.path)["reproduce.py"].splitlines()
        if line.startswith(("import", "from"))
    ]
    assert [name for name in imports if name.partition(".")[0] not in sys.stdlib_module_names] == [
        "websockets.asyncio.client"
    ]


async def test_the_script_says_so_when_the_effect_does_not_show(tmp_path):
    await talk(tmp_path / "x.jsonl", cases.one_b)
    (tmp_path / "reproduce.py").write_text(
        unpacked(bundle(tmp_path / "x.jsonl", tmp_path / "e.zip").path)["reproduce.py"]
    )

    async with StandIn(drift="never") as server:
        out = await asyncio.to_thread(reproduce, tmp_path, f"{server.url}?model=gpt-realtime")

    assert out.returncode == 1 and "0 of 1 last replies came as text" in out.stdout


async def test_a_folder_of_logs_gives_as_many_without_as_with(tmp_path):
    for n, case in enumerate([cases.one_a, cases.one_b, cases.one_b, cases.one_a, cases.one_a]):
        await talk(tmp_path / f"logs/{n}.jsonl", case)

    made = bundle(tmp_path / "logs", tmp_path / "evidence.zip", n_each=2)

    files = unpacked(made.path)
    assert (made.n_with, made.n_without, made.reproduces, made.simulated) == (2, 2, True, True)
    logs = [name for name in files if name.startswith("logs/")]
    assert [name.partition("-")[0] for name in sorted(logs)] == [
        "logs/with",
        "logs/with",
        "logs/without",
        "logs/without",
    ]
    assert {
        "README.md",
        "ids.csv",
        "responses.csv",
        "versions.json",
        "tables/modality.csv",
        "plots/modality.svg",
    } <= files.keys()
    assert "It shows in 4 of 10 responses, in 2 of 5 sessions (5 logs)" in files["README.md"]


async def test_ids_and_times_are_what_a_vendor_asks_for(tmp_path):
    await talk(tmp_path / "x.jsonl", cases.one_b)
    session = read_log(tmp_path / "x.jsonl").session()

    rows = list(csv.DictReader(io.StringIO(unpacked(bundle(tmp_path / "x.jsonl", tmp_path / "e.zip").path)["ids.csv"])))

    assert [(r["session_id"], r["response_id"], r["shows_effect"]) for r in rows] == [
        (session.id, r.id, "True") for r in session.responses
    ]
    assert rows[0]["session_opened_at"] <= rows[0]["response_asked_at"] and rows[0]["response_asked_at"].endswith(
        "+00:00"
    )


async def test_a_log_in_a_bundle_reads_as_the_original(tmp_path):
    await talk(tmp_path / "x.jsonl", cases.one_b, turn=Clip.silence(300), audio="keep")
    files = unpacked(bundle(tmp_path / "x.jsonl", tmp_path / "e.zip").path)
    (log,) = (text for name, text in files.items() if name.startswith("logs/"))
    (tmp_path / "y.jsonl").write_text(log)

    one, two = read_log(tmp_path / "x.jsonl").session(), read_log(tmp_path / "y.jsonl").session()

    def story(s):
        return [(r.id, r.modality, r.words, r.n_audio_bytes, r.done_ms, r.simulated) for r in s.responses]

    assert story(two) == story(one) and two.simulated is True
    assert "AAAAAAAAAAAAAAAA" not in log


async def test_everything_says_that_it_was_simulated(tmp_path):
    await talk(tmp_path / "x.jsonl", cases.one_b)

    files = unpacked(bundle(tmp_path / "x.jsonl", tmp_path / "e.zip").path)

    for name, text in files.items():
        assert "simulated" in text or name == "versions.json", name
    assert "A stand-in answered, no model" in files["README.md"]


async def test_a_ledger_gives_its_plan_and_the_logs_of_its_trials(tmp_path, server):
    plan = Plan(cases=[cases.one_a, cases.one_b], arms=[arms.as_is], repeats=3, seed=7)
    ledger = await run(plan, tmp_path / "runs.sqlite", keep_events=True)

    made = bundle(ledger, tmp_path / "e.zip", n_each=2)

    files = unpacked(made.path)
    assert (made.n_with, made.n_without, made.simulated) == (2, 2, True)
    assert json.loads(files["plan.json"])["plan_hash"] == ledger.plan_hash
    ids = list(csv.DictReader(io.StringIO(files["ids.csv"])))
    assert {r["case"] for r in ids if r["shows_effect"] == "True"} == {"1b"} and all(r["trial_id"] for r in ids)
    (tmp_path / "reproduce.py").write_text(files["reproduce.py"])

    out = await asyncio.to_thread(reproduce, tmp_path, f"{server.url}?model=gpt-realtime")
    assert out.returncode == 0, out.stdout + out.stderr


async def test_secrets_and_what_your_hook_takes_out_are_not_in_it(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "canary0123456789")
    path = tmp_path / "x.jsonl"
    await talk(path, cases.one_b, turn="My name is Alma.")
    path.write_text(path.read_text().replace("My name", "canary0123456789 sk-abcdef123456 My name"))

    files = unpacked(
        bundle(path, tmp_path / "e.zip", redact=lambda e: None if e["type"] == "rate_limits.updated" else e).path
    )

    everything = "".join(files.values())
    assert "canary" not in everything and "sk-abcdef" not in everything
    assert "withheld" in everything


async def test_a_hostile_session_id_names_no_file_outside(tmp_path):
    await talk(tmp_path / "x.jsonl", cases.one_b)
    text = (tmp_path / "x.jsonl").read_text()
    session_id = read_log(tmp_path / "x.jsonl").session().id
    (tmp_path / "x.jsonl").write_text(text.replace(session_id, "../../../etc/passwd"))

    with zipfile.ZipFile(bundle(tmp_path / "x.jsonl", tmp_path / "e.zip").path) as file:
        assert all(name.startswith("e/") and ".." not in name for name in file.namelist())


async def test_hostile_words_are_ascii_in_the_script_and_escaped_in_pictures(tmp_path):
    words = "\u202eevil\u2066 '''\n\"\"\" </script><script>x"
    await talk(tmp_path / "x.jsonl", cases.one_b, turn=words)

    files = unpacked(bundle(tmp_path / "x.jsonl", tmp_path / "e.zip", effect=lambda r: r.modality == "text").path)

    assert files["reproduce.py"].isascii()
    compile(files["reproduce.py"], "reproduce.py", "exec")
    assert all("<script" not in text for name, text in files.items() if name.endswith(".svg"))


async def test_a_hostile_log_neither_writes_code_into_the_script_nor_says_where_keys_go(tmp_path):
    hostile = '"""\nraise SystemExit("pwned")\n"""'
    events = [
        {
            "log": "a",
            "format": 1,
            "opened_at": "x",
            "endpoint": "url",
            "url": "wss://evil.example/v1",
            "simulated": False,
        },
        {"dir": "server", "event": {"type": "session.created", "session": {"id": hostile, "model": hostile}}},
        {"dir": "client", "event": {"type": "response.create"}},
        {
            "dir": "server",
            "event": {"type": "response.created", "response": {"id": hostile, "output_modalities": ["audio", hostile]}},
        },
        {"dir": "server", "event": {"type": "response.output_text.delta", "response_id": hostile, "delta": hostile}},
    ]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps({"log": "a"} | event) + "\n" for event in events))

    script = unpacked(bundle(tmp_path / "x.jsonl", tmp_path / "e.zip").path)["reproduce.py"]

    assert "SystemExit" not in {getattr(node, "id", None) for node in ast.walk(ast.parse(script))}
    assert "evil" not in script and "URL = sys.argv[1] if len(sys.argv) > 1 else ''" in script


async def test_forged_lengths_of_sound_make_no_script_of_gigabytes(tmp_path, monkeypatch):
    monkeypatch.setattr("kit.reporting.bundling._MAX_SOUND_BYTES", 300_000)
    await talk(tmp_path / "x.jsonl", cases.one_b)
    lines = (tmp_path / "x.jsonl").read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if '"response.create"' in line)
    forged = {"type": "input_audio_buffer.append", "audio": f"sha256:{'0' * 64}:999999999999"}
    lines[at:at] = [json.dumps(json.loads(lines[at]) | {"event": forged})] * 100
    (tmp_path / "x.jsonl").write_text("\n".join(lines))

    script = unpacked(bundle(tmp_path / "x.jsonl", tmp_path / "e.zip").path)["reproduce.py"]
    assert 400_000 < len(script) < 600_000


async def test_nothing_to_show_is_refused(tmp_path):
    await talk(tmp_path / "x.jsonl", cases.one_a)

    with pytest.raises(
        InputError, match="none of the 2 responses shows the effect .A reply came as text where audio was asked for."
    ):
        bundle(tmp_path / "x.jsonl", tmp_path / "e.zip")
    assert not (tmp_path / "e.zip").exists()


async def test_a_file_that_is_there_is_not_replaced(tmp_path):
    await talk(tmp_path / "x.jsonl", cases.one_b)
    (tmp_path / "e.zip").write_text("mine")

    with pytest.raises(InputError, match="exists"):
        bundle(tmp_path / "x.jsonl", tmp_path / "e.zip")
    bundle(tmp_path / "x.jsonl", tmp_path / "e.zip", overwrite=True)


async def test_kit_bundle_does_the_same_from_a_terminal(tmp_path, capsys):
    await talk(tmp_path / "x.jsonl", cases.one_b)

    code = await asyncio.to_thread(main, ["bundle", str(tmp_path / "x.jsonl"), str(tmp_path / "e.zip")])

    assert code == 0 and "1 sessions with the effect" in capsys.readouterr().out
    assert "reproduce.py" in unpacked(tmp_path / "e.zip")
    assert await asyncio.to_thread(main, ["bundle", str(tmp_path / "x.jsonl"), str(tmp_path / "e.zip")]) == 2


async def test_a_ledger_without_events_says_what_it_has_and_what_it_lacks(tmp_path):
    ledger = await run(Plan("1b", repeats=2), tmp_path / "runs.sqlite", progress=None)

    with pytest.raises(
        InputError, match="has 2 responses, 2 of them text, but no events to show: a bundle needs a ledger"
    ):
        bundle(ledger, tmp_path / "e.zip")


async def test_events_that_unpack_to_gigabytes_are_refused_and_take_no_memory(tmp_path):
    ledger = await run(Plan("1b", repeats=1), tmp_path / "runs.sqlite", progress=None, keep_events=True)
    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(bytes(1 << 24)) for _ in range(64)) + packer.flush()  # 1 GiB in 1 MB
    with closing(sqlite3.connect(ledger.path)) as db, db:
        db.execute("UPDATE events SET jsonl = ?", (bomb,))

    with pytest.raises(LedgerError, match="unpack to more than 256 MiB, which no session has"):
        bundle(ledger, tmp_path / "e.zip")


async def test_a_spreadsheet_finds_no_formula_in_a_bundle_and_every_row_is_one_row(tmp_path):
    hostile = "=cmd|'/C calc'!A1\r@x"
    await talk(tmp_path / "x.jsonl", cases.one_b)
    session_id = read_log(tmp_path / "x.jsonl").session().id
    path = tmp_path / "x.jsonl"
    path.write_text(
        path.read_text().replace(json.dumps(session_id), json.dumps(hostile)).replace("gpt-realtime", "=model")
    )

    files = unpacked(bundle(path, tmp_path / "e.zip").path)

    for name in ("ids.csv", "tables/modality.csv"):
        rows = list(csv.reader(io.StringIO(files[name], newline="")))
        assert {len(row) for row in rows} == {len(rows[0])}, name
        assert not [cell for row in rows for cell in row if cell.startswith(("=", "@", "+", "\t")) or "\r" in cell], (
            name
        )


# ------------------------------------------------------------------------------------------------------------ timeline


async def test_a_timeline_has_each_response_in_the_colour_of_its_modality(tmp_path):
    async with standin() as session:
        await session.seed(cases.one_a.history)
        await session.respond()
        await session.ask("Another one.", modality="text")

    picture = timeline(session)

    spans = [mark for mark in picture.marks if mark.lane == "response"]
    assert [mark.colour for mark in spans] == ["#0072B2", "#D55E00"]
    assert [mark.end_ms for mark in spans] == [r.done_at_ms for r in session.responses]
    assert "simulated" in picture.svg() and "simulated" in repr(picture)


async def test_the_timeline_of_a_log_is_that_of_its_session(tmp_path):
    async with standin(log=tmp_path / "x.jsonl") as session:
        await session.ask("Tell me a joke.")

    logged = timeline(read_log(tmp_path / "x.jsonl").session())

    live = timeline(session)
    assert [(m.lane, round(m.start_ms), round(m.end_ms)) for m in logged.marks] == [
        (m.lane, round(m.start_ms), round(m.end_ms)) for m in live.marks
    ]


def test_a_log_without_times_has_an_empty_picture_that_says_so(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"type":"session.created","session":{"id":"<b>"}}\n')

    assert "1 events without a time are left out" in timeline(read_log(path).session()).svg()
