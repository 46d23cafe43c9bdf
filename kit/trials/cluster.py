"""The same plan on a Dask cluster."""

from __future__ import annotations

from typing import Any

from ..errors import MissingExtra


async def run_on(runner: Any, client: Any, at_once: int, budget_usd: float | None) -> None:
    """Run on a cluster's workers."""
    raise MissingExtra("running on a cluster is not built yet")
