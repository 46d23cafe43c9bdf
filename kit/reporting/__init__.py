"""Reports: a ledger as one page to read, to keep, or to send to a vendor; and the study that ends in one."""

from __future__ import annotations

from .bundling import Bundle, bundle, drifted
from .page import Report, report

__all__ = ["Bundle", "Report", "bundle", "drifted", "report"]
