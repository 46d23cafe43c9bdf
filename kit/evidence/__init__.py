"""Evidence: what somebody else needs to see an effect, and to make it happen again."""

from .bundling import Bundle, bundle, drifted

__all__ = ["Bundle", "bundle", "drifted"]
