"""Where the trials of a run go: the services that its settings name, and one stand-in for each way of standing in."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..connecting import in_process_url
from ..endpoint import Endpoint
from ..errors import InputError, KitError
from ..standin import StandIn
from .plan import Settings, Trial

_SERVED = ("drift", "seed", "pace", "faults")  # what `python -m kit serve` takes
_STARTS_WITHIN_S = 60.0
_OURS = str(Path(__file__).resolve().parents[2])  # where `kit` is, should the notebook's folder be another


class Places:
    """The stand-ins that a plan needs, running. Use it in an ``async with``.

    Args:
        settings: What trials will be asked for.
        seed: Of the stand-ins that name none.
        own_process: Each in a process of its own, instead of on this loop.
    """

    def __init__(self, settings: Iterable[Settings], seed: int, *, own_process: bool = False) -> None:
        self._settings, self._seed, self._own_process = tuple(settings), seed, own_process
        self._urls: dict[str, str] = {}
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            for settings in self._settings:
                key = _key(settings)
                if settings.where.name == "standin" and key not in self._urls:
                    options = {"seed": self._seed} | dict(settings.stand_in)
                    self._urls[key] = await (self._process(options) if self._own_process else self._server(options))
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def of(self, trial: Trial, attempt: int = 1) -> tuple[Endpoint, str]:
        """The endpoint of a trial and its address; the trial's id goes to a stand-in and to no one else.

        Args:
            attempt: 1, and one more for each time that the other end has failed the trial: a stand-in draws its faults anew.
        """
        where = trial.settings.where
        if where.name != "standin":
            return where, where.url
        url = in_process_url(self._urls[_key(trial.settings)], where.model, trial.trial_id, attempt)
        return replace(where, url=url), url

    async def _server(self, options: dict[str, Any]) -> str:
        return (await self._stack.enter_async_context(StandIn(**options))).url

    async def _process(self, options: dict[str, Any]) -> str:
        unknown = [name for name in options if name not in _SERVED]
        if unknown:
            raise InputError(
                f"a stand-in in its own process takes {', '.join(_SERVED)}, not {', '.join(unknown)}; "
                "run it in this one (own_process=False)"
            )
        told = [f"--fault={each}" for each in options.pop("faults", ())]
        told += [f"--{name}={value}" for name, value in options.items() if value is not None]
        path = os.pathsep.join(filter(None, [_OURS, os.environ.get("PYTHONPATH")]))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "kit", "serve", "--port=0", *told),
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for us; it goes when we let it
        )
        self._stack.push_async_callback(_end, process)
        assert process.stdout is not None
        try:
            async with asyncio.timeout(_STARTS_WITHIN_S):
                url = (await process.stdout.readline()).decode().strip()
        except TimeoutError:
            url = ""
        if not url.startswith("ws://"):
            raise KitError(f"the stand-in's process did not start (it said {url!r}); try own_process=False")
        return url


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(5):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _key(settings: Settings) -> str:
    return json.dumps(settings.describe().get("stand_in"), sort_keys=True)
