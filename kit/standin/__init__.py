"""The stand-in: a local Realtime server that speaks, in both dialects, on real sockets.

It answers with recorded jokes and a few plain sentences, chosen by seed. It is not a language model, and what it does is
simulated: the mark travels in the handshake and in the session object.
"""

from .handshake import DEFAULT_MODEL
from .replies import Call, Reasoned
from .server import MARK_HEADER, Limits, StandIn

__all__ = ["DEFAULT_MODEL", "MARK_HEADER", "Call", "Limits", "Reasoned", "StandIn"]
