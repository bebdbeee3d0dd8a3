"""What happens to an event: the engine, the six stages, and everything they and their users stand on."""
