"""What readers need not ask the store again: one protocol, one file per implementation."""
