"""Reading an event that may say anything: a field of the type that is meant, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .dialect import AUDIO_FORMATS


def text_of(data: Mapping[str, Any], key: str) -> str | None:
    value = data.get(key)
    return value if isinstance(value, str) else None


def int_of(data: Mapping[str, Any], key: str) -> int:
    value = data.get(key)
    return value if isinstance(value, int) else 0


def dict_of(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = data.get(key)
    return value if isinstance(value, dict) else {}


def modalities_of(data: Mapping[str, Any]) -> tuple[str, ...] | None:
    for field in ("output_modalities", "modalities"):
        value = data.get(field)
        if isinstance(value, list):
            return tuple(str(word) for word in value)
    return None


def format_of(spelled: object) -> str:
    """GA's format object or beta's word → beta's word; PCM where nothing is said."""
    if isinstance(spelled, str):
        return spelled
    if isinstance(spelled, dict):
        for name, spec in AUDIO_FORMATS.items():
            # xAI takes other rates than 24 000
            if spec["type"] == spelled.get("type") and spelled.get("rate") in (None, spec.get("rate")):
                return name
        if isinstance(spelled.get("type"), str):
            return " ".join(str(spelled[key]) for key in ("type", "rate") if isinstance(spelled.get(key), str | int))
    return "pcm16"
