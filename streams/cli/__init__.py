"""The memstream command: one file per command, on the public clients."""
