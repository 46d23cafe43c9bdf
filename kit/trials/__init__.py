"""Many trials: what is compared (`arms`), what is planned (`plan`), how it is run (`runner`, `cluster`), what came of it (`ledger`).

::

    plan = Plan(cases=["1b", "2b"], arms=[arms.as_is, arms.one_user_message], repeats=40, seed=7)
    ledger = await run(plan, "runs/joke.sqlite")
"""
