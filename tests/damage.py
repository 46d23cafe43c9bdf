"""Logs of every kind, damaged in every way, and what a reader may make of them.

``python tests/damage.py 5000`` tries that many logs of a random kind, and prints those of which something wrong was read.
"""

import collections
import functools
import itertools
import json
import pprint
import random
import re
import string
import sys
import tempfile
from pathlib import Path

from kit.eventlog import ParseReport
from kit.eventlog.parsing import records
from kit.eventlog.sessions import Sorter
from kit.standin import Call, StandIn
from kit.standin.session import ServerSession
from kit.wire.dialect import dialect

# --------------------------------------------------------------------------------------------------- real event sequences

JOKE = "Why don't skeletons fight each other? They don't have the guts!"
KINDS = {  # what a session's replies are like → how the stand-in is made to answer so
    "audio": {"drift": "never", "replies": None},
    "text": {"drift": "always"},
    "call": {"drift": "never", "replies": [Call("look_up", {"city": "Oslo", "note": 'it\'s "so"\n{x}'})]},
}


def _session(d, kind, n, cancels):
    """The events of a session of two replies, as the stand-in's core sends them; sound is kept to a few samples."""
    clock = [100.0]
    how = {name: value for name, value in KINDS[kind].items() if value is not None}
    core = ServerSession(
        StandIn(seed=n, pace=50.0, **how).options, dialect(d), model="gpt-realtime", trial=f"t{n}", now=lambda: clock[0],
        unix=lambda: 1.7e9,
    )  # fmt: skip
    frames = [json.loads(frame) for frame in core.take()]

    def send(type, **fields):
        core.receive(json.dumps({"type": type, **fields}))
        frames.extend(map(json.loads, core.take()))

    for role, type, text in (("user", "input_text", "Tell me a joke."), ("assistant", "output_text", JOKE)):
        type = "text" if d == "beta" and role == "assistant" else type
        send(
            "conversation.item.create",
            item={"type": "message", "role": role, "content": [{"type": type, "text": text}]},
        )
    for turn in range(2):
        send(
            "conversation.item.create",
            item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Another."}]},
        )
        send("response.create")
        n_steps = 0
        while core.wake_at is not None and n_steps < 2_000:
            clock[0] = max(clock[0], core.wake_at)
            core.advance()
            frames.extend(map(json.loads, core.take()))
            n_steps += 1
            if cancels and turn and n_steps == 6:
                send("response.cancel")
            if frames[-1]["type"] in ("response.done", "rate_limits.updated") and n_steps > 8:
                break
    return _short(frames)


def _short(frames):
    """Three pieces of each run of deltas, and little sound in each: logs are to be small."""
    n_deltas = collections.Counter()
    for frame in frames:
        if frame["type"].endswith(".delta"):
            n_deltas[frame["response_id"], frame["type"]] += 1
            if "audio" in frame["type"] and "transcript" not in frame["type"]:
                if n_deltas[frame["response_id"], frame["type"]] > 3:
                    continue
                frame["delta"] = frame["delta"][:64]
        yield frame


@functools.cache
def session(d, kind, n, cancels=False):
    """Its events, and what each of its replies was: {id: (modality, status, words)}."""
    rng = random.Random(f"{d} {kind} {n} {cancels}")  # the stand-in's own ids are new each time
    names = collections.defaultdict(lambda: "".join(rng.choices(string.ascii_letters + string.digits, k=21)))
    text = json.dumps(list(_session(d, kind, n, cancels)))
    events = json.loads(
        re.sub(r"\b(sess|resp|item|event|call|conv)_(\w{12,})", lambda m: f"{m[1]}_{names[m[0]]}", text)
    )
    truth = {}
    for event in events:
        if event["type"] == "response.done":
            response = event["response"]
            parts = [part for item in response["output"] for part in item.get("content", ())]
            kinds = {"audio" if "audio" in part["type"] else "text" for part in parts}
            calls = any(item["type"] == "function_call" for item in response["output"])
            modality = "mixed" if len(kinds) > 1 else next(iter(kinds)) if kinds else "function" if calls else "empty"
            words = " ".join(part.get("transcript") or part.get("text") or "" for part in parts)
            truth[response["id"]] = modality, response["status"], words
    return events, truth


# ------------------------------------------------------------------------------------------------- how programs print events


def pydantic(value, name="Event"):
    if isinstance(value, dict):
        return f"{name}({', '.join(f'{k}={pydantic(v, k.title())}' for k, v in value.items())})"
    return f"[{', '.join(pydantic(v, 'Item') for v in value)}]" if isinstance(value, list) else repr(value)


def node(value, indent=None):
    """As util.inspect prints: keys without quotes, single quotes, over several lines where `indent` is given."""
    if isinstance(value, str):
        quote = next((q for q in "'\"`" if q not in value), "'")
        text = json.dumps(value, ensure_ascii=False)[1:-1].replace('\\"', '"')
        return quote + (text.replace("'", "\\'") if quote == "'" else text) + quote
    if isinstance(value, dict | list):
        inner = None if indent is None else indent + 2
        pairs = (
            [f"{key}: {node(v, inner)}" for key, v in value.items()]
            if isinstance(value, dict)
            else [node(v, inner) for v in value]
        )
        opening, closing = ("{", "}") if isinstance(value, dict) else ("[", "]")
        if not pairs:
            return opening + closing
        if indent is None or len(", ".join(pairs)) < 60:
            return f"{opening} {', '.join(pairs)} {closing}"
        return f"{opening}\n" + ",\n".join(" " * inner + pair for pair in pairs) + f"\n{' ' * indent}{closing}"
    return (
        {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else str(value)
    )


def yaml(value):
    import yaml

    return yaml.safe_dump([value], default_style='"', sort_keys=False, width=1_000_000).rstrip()


PRINTS = {
    "json": json.dumps,
    "json, compact": lambda e: json.dumps(e, separators=(",", ":"), ensure_ascii=False),
    "json over lines": lambda e: json.dumps(e, indent=2),
    "json in quotes": lambda e: f"< TEXT {json.dumps(e)!r} [{len(json.dumps(e))} bytes]",
    "json escaped": lambda e: f"data={json.dumps(json.dumps(e))}",
    "python": repr,
    "bytes": lambda e: repr(json.dumps(e).encode()),
    "pprint": lambda e: pprint.pformat(e, width=70, sort_dicts=False),
    "pydantic": pydantic,
    "node": node,
    "node over lines": lambda e: node(e, 0),
    "logfmt": lambda e: f"level=debug msg={json.dumps('recv ' + json.dumps(e))} call=17",
    "csv": lambda e: 'x,"' + json.dumps(e).replace('"', '""') + '"',
    "yaml": yaml,
}
BEFORE = {  # what stands before each line
    "": "",
    "time": "2026-05-01T12:00:00.000Z DEBUG recv ",
    "python": "2026-05-01 12:00:00,123 - realtime - DEBUG - ",
    "compose": "agent-1  | ",
    "kubectl": "[pod/agent-7d9f/main] ",
    "syslog": "May  1 12:00:00 host agent[7]: ",
    "cri": "2026-05-01T12:00:00.123456789Z stdout F ",
    "rich": "│ ",
}
ROUND = {  # what is done with the whole line
    "": lambda line: line,
    "coloured": lambda line: f"\x1b[32m{line}\x1b[39m",
    "logger": lambda line: json.dumps({"level": "debug", "message": line}),
    "docker": lambda line: json.dumps({"log": line + "\n", "stream": "stdout", "time": "2026-05-01T12:00:00Z"}),
    "journal": lambda line: json.dumps({"MESSAGE": list(line.encode()), "_PID": "7"}),
    "docker, in pieces": lambda line: "\n".join(
        json.dumps({"log": piece, "stream": "stdout", "time": "2026-05-01T12:00:00Z"})
        for piece in _pieces(f"{line}\n", 300)
    ),
    "cri, in pieces": lambda line: "\n".join(
        f"2026-05-01T12:00:00.123456789Z stdout P {piece}" for piece in _pieces(line, 300)
    )[::-1].replace(" P ", " F ", 1)[::-1],
    "terminal": lambda line: "\n".join(_pieces(line, 120)),
}


def _pieces(line, n):
    return [line[at : at + n] for at in range(0, len(line), n)] or [""]


TAILS = ("", "...", "…", "...[truncated]", " (truncated)", "... 812 more characters")
MARKS = ("...", "…", " ... ", "[...]", "...[truncated]...")


def cut(line, width, rng):
    return line[:width] + rng.choice(TAILS)


def elided(line, width, rng):
    tail = rng.choice((width // 2, width // 3))
    return line[: width - tail] + rng.choice(MARKS) + line[-tail:]


DAMAGES = {"none": None, "cut": cut, "elided": elided}


def log(rng, print_, before, round_, damage):
    """A log of one or two sessions: its lines, its events, what is left of each in the log, and what the replies were."""
    share, width, inside = rng.choice((0.05, 0.3, 1.0)), rng.choice((60, 80, 100, 150, 200, 500)), rng.random() < 0.5
    if print_ == "yaml":
        before = round_ = ""
    if round_ == "cri, in pieces":
        before = ""
    if round_ == "terminal":
        damage = "none"  # cut lines and wrapped ones look the same
        print_ = "json" if print_ == "csv" else print_  # a table is no print
    events, truth = [], {}
    for n in rng.sample(range(4), rng.randint(1, 2)):
        some, replies = session(rng.choice(("ga", "beta")), rng.choice([*KINDS]), n, rng.random() < 0.3)
        events += some
        truth |= replies
    lines, texts = [], []
    for event in events:
        physical = []
        for line in PRINTS[print_](event).split("\n"):
            harm = damage != "none" and len(line) > width and rng.random() < share
            if harm and inside:
                line = DAMAGES[damage](line, width, rng)
            line = BEFORE[before] + line
            if harm and not inside:
                line = DAMAGES[damage](line, width + len(BEFORE[before]), rng)
            physical.append(ROUND[round_](line))
        lines += physical
        texts.append("\n".join(physical))
    return lines, events, texts, truth


def faults(path, events, texts, truth):
    """What is wrong with what was read of a log."""
    report = ParseReport()
    sorter, left = Sorter(path.name, report, keep_audio=False), collections.Counter()
    for record in records(path, report):
        if record.kind == "event":
            left[json.dumps(record.data, sort_keys=True)] += 1
        sorter.take(record)
    rows = [row for session in sorter.finish() for row in session.responses]
    n_lost = n_nameless = 0
    for event, text in zip(events, texts, strict=True):
        if left[as_read := json.dumps(event, sort_keys=True)]:
            left[as_read] -= 1
        elif event["type"] in text:
            n_lost += 1
        else:
            n_nameless += 1
    wholes = [
        {"type": "response.done", "response": event["response"]} for event in events if event["type"] == "response.done"
    ]
    for whole in wholes:  # of an event that was cut, the response in it may be whole
        left[json.dumps(whole, sort_keys=True)] = 0
    invented = +left
    if invented:
        yield f"{invented.total()} events that were never sent: {next(iter(invented))[:300]}"
    if report.n_not_understood < n_lost:
        yield f"{n_lost} events were lost, {report.n_not_understood} told"
    told = bool(report.n_not_understood)
    if n_lost and not told:
        yield f"{n_lost} events were lost, and nothing is said"
    if not n_lost and not n_nameless and (told or len(rows) != len(truth) or any(r.partial for r in rows)):
        yield f"a whole log: {len(rows)} of {len(truth)} replies; {report}"
    if len(rows) > len(truth):
        yield f"{len(rows)} replies, not {len(truth)}"
    for row in rows:
        if row.id is None:
            continue
        if row.id not in truth:
            yield f"{row.id} was never made"
            continue
        modality, status, words = truth[row.id]
        said = (row.modality, row.status, row.words if modality != "function" else "")
        if not row.partial and said != (modality, status, words):
            yield f"a whole row says {said}, not {truth[row.id]}"
        if row.partial and row.modality not in (modality, None, "empty") and modality != "mixed":
            yield f"a partial row says {row.modality}, not {modality}"
        if row.partial and row.status not in (status, None):
            yield f"a partial row says {row.status}, not {status}"
    if len(rows) < len(truth) and not told:
        yield f"{len(truth) - len(rows)} replies are missing, and nothing is said"


def main(n, first=0):
    n_wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.log")
        for seed in range(first, first + n):
            rng = random.Random(seed)
            kind = [rng.choice([*choices]) for choices in (PRINTS, BEFORE, ROUND, DAMAGES)]
            lines, *truth = log(rng, *kind)
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
            for fault in itertools.islice(faults(path, *truth), 3):
                n_wrong += 1
                print(seed, *kind, "::", fault[:400], sep=" | ")
    print(f"{n:,} logs, {n_wrong} faults")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
