"""One file per contender; each is a command that takes a mode and a task (`benchmarks.engine.contender`)."""
