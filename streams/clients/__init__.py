"""The public Python API: publish conversation events, follow memory changes, read memories."""
