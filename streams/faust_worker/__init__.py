"""The only place that imports Faust. Not named `faust`, so that `import faust` means one thing.

`agents` is the one to read: six agents in event order. `transport` is how the engine is plugged in, `app` builds one
Faust app per stage, `worker` runs them in one process.
"""
