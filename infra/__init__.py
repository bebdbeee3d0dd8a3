"""What memstream runs on: the native stack, the compose file, monitoring."""
