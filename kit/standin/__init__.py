"""The stand-in: a local Realtime server that speaks, in both dialects, on real sockets.

It answers with recorded jokes and a few plain sentences, chosen by seed. It is not a language model, and what it does is
simulated: the mark travels in the handshake and in the session object.
"""

from .drift import in_words as drift_rules
from .faults import KINDS as FAULTS
from .handshake import DEFAULT_MODEL, Access, HttpRequest, PlainRequest, http_answer, key_of
from .hearing import prepare as prepare_hearing
from .journal import Recorder
from .listener import Connection, Listener
from .options import MAX_FRAME_BYTES, SESSION_S, Limits
from .replies import Call, Reasoned, Reply, ReplyRule, json_list
from .server import StandIn

__all__ = [
    "DEFAULT_MODEL", "FAULTS", "MAX_FRAME_BYTES", "SESSION_S", "Access", "Call", "Connection", "HttpRequest", "Limits", "Listener",
    "PlainRequest", "Reasoned", "Recorder", "Reply", "ReplyRule", "StandIn", "drift_rules", "http_answer", "json_list", "key_of",
    "prepare_hearing",
]  # fmt: skip
