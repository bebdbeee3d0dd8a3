"""Which topics exist, which stage reads and writes which, and what keys look like. Data and provisioning.

`graph` is the place to start: six stages in event order. `topics` says how each topic is kept, `keys` how everything is
partitioned and named; `provision` creates and checks a cluster (through `cluster`), `describe` and `asyncapi` print the
same data.
"""
