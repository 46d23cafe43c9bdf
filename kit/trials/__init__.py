"""Many trials: what is compared (`arms`), what is planned (`plan`), how it is run (`runner`, `cluster`), what came of it (`ledger`).

::

    plan = Plan(cases=["1b", "2b"], arms=[arms.as_is, arms.one_user_message], repeats=40, seed=7)
    ledger = await run(plan, "runs/joke.sqlite", at_once=8)      # interrupted? run it again: it goes on
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Client

    from .ledger import Ledger
    from .plan import Plan
    from .runner import Callback


async def run(
    plan: Plan,
    ledger: str | Path | Ledger,
    *,
    at_once: int = 8,
    budget_usd: float | None = None,
    progress: Callback | bool | None = True,
    keep_events: bool = False,
    keep_sound: bool = False,
    cluster: Client | None = None,
) -> Ledger:
    """Run a plan, or what is left of it.

    Stopping it (the kernel's interrupt, Ctrl-C, cancelling the task) is safe: what runs is closed and written down, and the
    same call goes on. So is killing the process.

    Args:
        plan: What to run.
        ledger: Where to write; a file that exists must be this plan's.
        at_once: Sessions open at the same time; of each worker, where there is a cluster.
        budget_usd: What the whole ledger may cost, earlier runs included. Needed where somebody pays. Each attempt reserves its
            worst case before it connects, and what is spent and reserved never passes the cap; an attempt without usage counts
            as its reservation.
        progress: Called with a `Progress` whenever something changed; ``True``: a bar; ``None`` or ``False``: nothing.
        keep_events: Keep every event of every session, without audio.
        keep_sound: Keep the sound of every reply, lossless: about 25 kB a second of speech. `Ledger.trial` plays it.
        cluster: A `distributed.Client`: its workers run the trials (extra ``cluster``).

    Returns:
        The ledger. Its `Ledger.last_run` says why the run ended: ``complete``, ``budget`` or ``stop rule``.

    Raises:
        InputError: For a plan that costs money and no budget, and a budget that cannot be kept.
        EndpointError: If a key is missing; nothing is written.
        LedgerError: If the file is not this plan's ledger, another runner has it, or it cannot be written.
        ConnectError: If the service refuses the key or the model, or cannot be reached any more: no trial could do better. The
            same call goes on later.
        ImportError, OSError: If this machine cannot go on (a missing library, no more open files). The same call goes on later.
    """
    from ..errors import show_interrupts_in_one_sentence
    from .ledger import Ledger
    from .runner import Runner, check_run
    from .writer import Writer

    show_interrupts_in_one_sentence()
    tell, cap_usd = check_run(plan, at_once, budget_usd, progress, on_cluster=cluster is not None)
    with Writer(ledger, plan) as writer:
        runner = Runner(plan, writer, cap_usd, tell, keep_events=keep_events, keep_sound=keep_sound)
        if cluster is None:
            await runner.run(at_once, budget_usd)
        else:
            from .cluster import run_on

            await run_on(runner, cluster, at_once, budget_usd)
    return Ledger(writer.path)
