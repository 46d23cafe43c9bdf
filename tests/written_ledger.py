"""A ledger written by hand: what happened in each trial, in letters.

``write(path, [("1b", "as_is", "t t"), ("1b", "retry", "ta a"), ("1a", "as_is", None)])``: a word per turn, a letter per response
(a audio, t text, m mixed, f function, e empty, x failed; with ``outcomes``, as the kit writes them today, also l late audio and s silent); ``None`` was never run; a last word ``!`` says that the trial failed.
"""

import json
import sqlite3
from contextlib import closing

from kit.trials.ledger import TABLES, Ledger, statements

LETTERS = {
    "a": "audio",
    "t": "text",
    "m": "mixed",
    "f": "function",
    "e": "empty",
    "x": "empty",
    "l": "audio",
    "s": None,
}
OUTCOMES = {
    "a": "spoken",
    "t": "text",
    "m": "both",
    "f": "function",
    "e": "silent",
    "x": "failed",
    "l": "late",
    "s": "silent",
}
BEGAN = 1_795_305_600.0  # 2026-11-22, midnight UTC
FIRST_AUDIO_MS, STEP_MS = 300.0, 1_000.0


def write(
    path,
    trials,
    *,
    simulated=1,
    endpoint="standin",
    model="gpt-realtime",
    plan_hash="feed" * 16,
    n_turns=None,
    settings=None,
    outcomes=False,
    stop=None,
    ended="complete",
):
    """Trials as (case, arm, turns) or (case, arm, turns, role); response n of a turn starts n seconds after the first."""
    longest = n_turns or max(len([w for w in (t[2] or "").split() if w != "!"]) for t in trials) or 1
    rows = {name: [] for name in TABLES}
    rows["plan"].append(
        {
            "plan_hash": plan_hash,
            "plan": json.dumps({"plan": 1, "stop": stop}),
            "created_at": BEGAN,
            "kit_version": "0.1.0",
        }
    )
    rows["runs"].append(
        {
            "run_id": 1,
            "started_at": BEGAN,
            "ended_at": BEGAN + 60,
            "ended": ended,
            "at_once": 8,
            "kit_version": "0.1.0",
            "python": "3.11",
            "pid": 1,
        }
    )
    for n, (case, arm, turns, *role) in enumerate(trials):
        trial_id, role = f"trial{n:04d}", role[0] if role else "measure"
        rows["trials"].append(
            {"trial_id": trial_id, "n": n, "role": role, "case_name": case, "arm": arm, "settings": 0,
             "settings_name": settings or f"{endpoint} {model}", "endpoint": endpoint, "asked_model": model,
             "modality": "text" if role == "positive" else "audio", "repeat": n, "reported": "audio",
             "n_history_items": 3, "n_turns": longest}
        )  # fmt: skip
        if turns is None:
            continue
        words = turns.split()
        failed = words[-1:] == ["!"]
        words = [word for word in words if word != "!"]
        rows["attempts"].append(
            {"attempt_id": n + 1, "trial_id": trial_id, "attempt": 1, "run_id": 1, "status": "failed" if failed else "completed",
             "stage": "answered", "counts": 1, "kind": "timeout" if failed else None, "started_at": BEGAN + n,
             "ended_at": BEGAN + n + 1, "session_id": f"sess_{n}", "model": model, "voice": "alloy", "simulated": simulated,
             "connect_ms": 5.0, "seed_ms": 8.0, "n_items_sent": 3, "n_updates_sent": 1, "n_deletes_sent": 0,
             "n_responses": sum(map(len, words)), "cost_usd": 0.01, "cost_estimated": 0,
             "error": "nothing came for 60 s" if failed else None, "reply_asked": 1 if outcomes else None}
        )  # fmt: skip
        for turn, word in enumerate(words):
            heard = next((STEP_MS * at + FIRST_AUDIO_MS for at, letter in enumerate(word) if letter in "am"), None)
            rows["turns"].append(
                {"attempt_id": n + 1, "trial_id": trial_id, "turn": turn, "n_responses": len(word), "first_modality": LETTERS[word[0]],
                 "final_modality": LETTERS[word[-1]], "final_status": "failed" if word[-1] == "x" else "completed",
                 "heard_ms": heard, "n_items_sent": 1}
            )  # fmt: skip
            if outcomes:  # decided by the last response that had content
                with_content = word.replace("x", "").replace("e", "") or word.replace("x", "") or word
                rows["turns"][-1] |= {
                    "first_outcome": OUTCOMES[word[0]], "outcome": OUTCOMES[with_content[-1]],
                    "final_modality": LETTERS[with_content[-1]] if with_content != "x" else None, "final_status": "completed",
                }  # fmt: skip
            for at, letter in enumerate(word):
                rows["responses"].append(
                    {"attempt_id": n + 1, "trial_id": trial_id, "turn": turn, "response": at, "response_id": f"resp_{n}_{turn}_{at}",
                     "simulated": simulated, "modality": LETTERS[letter], "first_modality": LETTERS[letter] if outcomes and letter not in "xs" else None, "status": "failed" if letter == "x" else "completed",
                     "started_at_ms": 10_000.0 * turn + STEP_MS * at, "first_audio_ms": FIRST_AUDIO_MS if letter in "am" else None,
                     "n_audio_bytes": 0, "text": "words", "n_calls": 0, "total_tokens": 100, "cost_usd": 0.01, "cost_estimated": 0}
                )  # fmt: skip
    with closing(sqlite3.connect(path)) as db:
        for sql in statements():
            db.execute(sql)
        for name, some in rows.items():
            for row in some:
                db.execute(
                    f"INSERT INTO {name} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", tuple(row.values())
                )
        db.commit()
    return Ledger(path)
