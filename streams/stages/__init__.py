"""What becomes of an event, one stage a file: pure functions from a micro-batch to outputs and outcomes."""
