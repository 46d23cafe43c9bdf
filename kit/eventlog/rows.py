"""One row per response: what ``python -m kit log`` prints, and what evidence bundles hold."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

from ..wire.records import Response

TIMES = ("first_audio_ms", "first_text_ms", "first_transcript_ms", "done_ms")
"""From the request (or the end of the user's speech) on; empty where the log has no times."""
TOKENS = {
    "input_tokens": ("input_tokens",),
    "input_text_tokens": ("input_token_details", "text_tokens"),
    "input_audio_tokens": ("input_token_details", "audio_tokens"),
    "cached_tokens": ("input_token_details", "cached_tokens"),
    "output_tokens": ("output_tokens",),
    "output_text_tokens": ("output_token_details", "text_tokens"),
    "output_audio_tokens": ("output_token_details", "audio_tokens"),
}
COLUMNS = (
    "session_id", "response_id", "asked", "modality", "status", "reason", "transcript", "text", "function_calls",
    *TIMES, *TOKENS, "simulated", "file",
)  # fmt: skip


def row(response: Response, *, session_id: str | None = None, file: str | None = None) -> dict[str, Any]:
    """A response as a row of `COLUMNS`. ``None`` where the log does not say."""
    return {
        "session_id": session_id,
        "response_id": response.id,
        "asked": None if response.asked is None else list(response.asked),
        "modality": response.modality,
        "status": response.status,
        "reason": response.reason,
        "transcript": response.transcript,
        "text": response.text,
        "function_calls": [
            {"name": call.name, "arguments": call.arguments, "status": call.status} for call in response.calls
        ],
        **{name: _rounded(getattr(response, name)) for name in TIMES},
        **{name: _token(response.usage, path) for name, path in TOKENS.items()},
        "simulated": response.simulated,
        "file": file,
    }


def csv_line(fields: Mapping[str, Any] | None = None) -> str:
    """A row as a line of CSV; without one, the head. Lists become ``audio+text`` and JSON; nothing becomes an empty cell."""
    out = io.StringIO()
    if fields is None:
        csv.writer(out).writerow(COLUMNS)
        return out.getvalue()
    flat = dict(fields)
    flat["asked"] = "+".join(flat["asked"] or ())
    flat["function_calls"] = json.dumps(flat["function_calls"], ensure_ascii=False) if flat["function_calls"] else ""
    flat["simulated"] = {True: "true", False: "false", None: "unknown"}[flat["simulated"]]
    cells = ["" if flat[name] is None else str(flat[name]).replace("\0", "") for name in COLUMNS]
    csv.writer(out).writerow([cell.encode("utf-8", "replace").decode() for cell in cells])
    return out.getvalue()


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _token(usage: Mapping[str, Any] | None, path: tuple[str, ...]) -> int | None:
    value: Any = usage
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
