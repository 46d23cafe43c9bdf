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
    "pydantic, str": lambda e: " ".join(f"{k}={pydantic(v, k.title())}" for k, v in e.items()),
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
    "gcp": lambda line: json.dumps({"textPayload": line, "timestamp": "2026-05-01T12:00:00Z"}),
    "datadog": lambda line: json.dumps(
        {"attributes": {"message": line, "timestamp": "2026-05-01T12:00:00Z"}, "id": "A"}
    ),
}


def _pieces(line, n):
    return [line[at : at + n] for at in range(0, len(line), n)] or [""]


TAILS = ("", "...", "…", "...[truncated]", " (truncated)", "... 812 more characters")
MARKS = ("...", "…", " ... ", "[...]", "...[truncated]...")


def cut(line, at, rng):
    return line[:at] + rng.choice(TAILS)


def elided(line, at, rng):
    """As programs shorten: half or a third of what is left stands after the mark; or as nobody does, anything."""
    tail = rng.choice((at // 2, at // 3, rng.randint(0, len(line) - 1)))
    return line[: min(at, len(line)) - min(at, tail)] + rng.choice(MARKS) + line[len(line) - tail :]


DAMAGES = {"none": None, "cut": cut, "elided": elided}


def log(rng, print_, before, round_, damage):
    """A log of one or two sessions: its lines, its events, the numbers of the lines of each, and what the replies were.

    Lines are cut to a width, as loggers do, or anywhere.
    """
    share, inside = rng.choice((0.05, 0.3, 1.0)), rng.random() < 0.5
    width = rng.choice((60, 80, 100, 150, 200, 500, None, None, None))
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
    lines, spans = [], []
    for event in events:
        first = len(lines)
        for line in PRINTS[print_](event).split("\n"):
            harm = damage != "none" and len(line) > (width or 0) and rng.random() < share
            at = rng.randint(0, len(line) - 1) if width is None and line else width
            if harm and inside:
                line = DAMAGES[damage](line, at, rng)
            line = BEFORE[before] + line
            if harm and not inside:
                line = DAMAGES[damage](line, at + len(BEFORE[before]), rng)
            lines += ROUND[round_](line).split("\n")
        spans.append(range(first, len(lines)))
    return lines, events, spans, truth


class Told(ParseReport):
    """A report that remembers which lines it told as lost."""

    def __init__(self):
        super().__init__()
        self.lines = set()

    def lose(self, reason, n_line, text):
        super().lose(reason, n_line, text)
        self.lines.add(n_line - 1)


WORDS = {"text", "transcript", "delta", "instructions", "message", "arguments"}
_MARK = re.compile("|".join(map(re.escape, sorted((*MARKS, *filter(None, TAILS)), key=len, reverse=True))))


def alike(read, sent, name="", *, over_lines=False, is_last=False, lacks=False):
    """Whether what was read is what was sent, as far as anybody can tell from the log. What nobody can tell:

    * A mark in words, away from the middle of the line, looks like words: people and models write "..." themselves.
    * Of the last number of an object that was printed over several lines (`over_lines`), digits may be missing: no comma follows it.
    * What stands last in a print that no bracket closes may be lost: padding (``obfuscation``), which no event must have.
    * An elision from within words to within other words leaves an object that lacks what stood between them (`lacks`).
    """
    if isinstance(sent, dict) and isinstance(read, dict):
        last = [*sent][-1:]
        missing = sent.keys() - read.keys()
        is_all = not missing or lacks or (missing == {"obfuscation"} and not over_lines and last == ["obfuscation"])
        return (read.keys() <= sent.keys() and is_all) and all(
            alike(read[key], sent[key], key, over_lines=over_lines, is_last=[key] == last, lacks=lacks) for key in read
        )
    if isinstance(sent, list) and isinstance(read, list):
        return (len(read) == len(sent) or (lacks and len(read) < len(sent))) and all(
            alike(*pair, over_lines=over_lines, lacks=lacks) for pair in zip(read, sent, strict=False)
        )
    if isinstance(sent, str) and isinstance(read, str) and name in WORDS:
        return sent == read or any(
            sent.startswith(read[: mark.start()]) and (lacks or sent.endswith(read[mark.end() :]))
            for mark in _MARK.finditer(read)
        )
    is_number = isinstance(sent, int | float) and isinstance(read, int | float) and not isinstance(sent, bool)
    is_short = is_number and is_last and over_lines and str(sent).startswith(str(read).removesuffix(".0"))
    return read == sent or is_short


def _has_marked_words(value, name=""):
    if isinstance(value, dict):
        return any(_has_marked_words(inner, key) for key, inner in value.items())
    if isinstance(value, list):
        return any(_has_marked_words(inner, name) for inner in value)
    return name in WORDS and isinstance(value, str) and _MARK.search(value) is not None


def _of_event(event):
    return event["type"], event.get("event_id") or event.get("response", {}).get("id")


def faults(path, lines, events, spans, truth):
    """What is wrong with what was read of a log."""
    report = Told()
    sorter, read = Sorter(path.name, report, keep_audio=False), collections.defaultdict(list)
    for record in records(path, report):
        if record.kind == "event":
            read[_of_event(record.data)].append(record.data)
        sorter.take(record)
    rows = [row for session in sorter.finish() for row in session.responses]
    lost, nameless = [], []
    for event, span in zip(events, spans, strict=True):
        over = len(span) > 1
        # Of an event that was cut, the response in it may be whole.
        whole = {"type": "response.done", "response": event["response"]} if event["type"] == "response.done" else event
        of_both = [(data, sent) for sent in (event, whole) for data in read[_of_event(sent)]]
        found = next((data for data, sent in of_both if alike(data, sent, over_lines=over)), None) or next(
            (
                data
                for data, sent in of_both
                if _has_marked_words(data) and alike(data, sent, over_lines=over, lacks=True)
            ),
            None,
        )
        name = re.escape(event["type"])
        in_quotes = rf"|[\"']{name}[\"'\\]" if "." in name else ""  # the word "error" is nobody's own
        if found is not None:
            read[_of_event(found)].remove(found)
            read[_of_event(whole)] = [data for data in read[_of_event(whole)] if not alike(data, whole)]
        elif any(re.search(rf"type\W{{1,12}}{name}(?!\w){in_quotes}", lines[n]) for n in span):
            lost.append((event, span))
        else:
            nameless.append((event, span))
    invented = [data for left in read.values() for data in left]
    if invented:
        yield f"{len(invented)} events that were never sent: {json.dumps(invented[0], sort_keys=True)[:300]}"
    for event, span in lost:
        if report.lines.isdisjoint(span):
            yield f"{event['type']} was lost, and no line of it is told: " + " ⏎ ".join(lines[n] for n in span)[:600]
    told = bool(report.n_not_understood)
    if not lost and not nameless and (told or len(rows) != len(truth) or any(r.partial for r in rows)):
        yield f"a whole log: {len(rows)} of {len(truth)} replies; {report}"
    if len(rows) > len(truth):
        yield f"{len(rows)} replies, not {len(truth)}"
    for row in rows:
        if row.id is None:
            if not row.partial:
                yield "a whole row has no id"
            continue
        if row.id not in truth:
            yield f"{row.id} was never made"
            continue
        modality, status, words = truth[row.id]
        if row.status is None and any(
            e["type"] == "response.done" and e["response"]["id"] == row.id for e, _ in nameless
        ):
            status = None  # its end is not in the log
        said = (row.modality, row.status, row.words if modality != "function" else "")
        if not row.partial and (said[:2] != (modality, status) or not alike(said[2], words, "text")):
            yield f"a whole row says {said}, not {truth[row.id]}"
        if row.partial and row.modality not in (modality, None, "empty"):
            yield f"a partial row says {row.modality}, not {modality}"
        if row.partial and row.status not in (status, None):
            yield f"a partial row says {row.status}, not {status}"
    if len(rows) < len(truth) and not told:
        yield f"{len(truth) - len(rows)} replies are missing, and nothing is said"


def of_seed(seed):
    """A kind of log and a log of it, drawn: ``kind, (lines, events, spans, truth)``."""
    rng = random.Random(seed)
    kind = [rng.choice([*choices]) for choices in (PRINTS, BEFORE, ROUND, DAMAGES)]
    return kind, log(rng, *kind)


def main(n, first=0):
    n_wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.log")
        for seed in range(first, first + n):
            kind, (lines, *truth) = of_seed(seed)
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
            for fault in itertools.islice(faults(path, lines, *truth), 3):
                n_wrong += 1
                print(seed, *kind, "::", fault[:400], sep=" | ")
    print(f"{n:,} logs, {n_wrong} faults")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
