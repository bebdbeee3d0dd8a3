"""The engine beside its peers: one broker, the same records, one process per contender (`docs/benchmarks.md`).

Read `contender` (what each contender is told and tells), one of `contenders`, then `__main__` (the run) and `table`
(what is made of it). `contender` and the peers' files use the standard library and the peer only: they run in
environments of their own (`environments`).
"""
