"""Reports: a ledger as one page to read, to keep, or to send to a vendor; and the study that ends in one."""

from .page import Report, report

__all__ = ["Report", "report"]
