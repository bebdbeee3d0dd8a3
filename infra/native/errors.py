"""What can go wrong with the native stack.

```
StackError                    root: a message and the next step
├── ToolchainMissingError     no usable Java, Go, redis-server or uv
├── FetchError                a wheel, a jar or a module could not be had
├── ChecksumError             something fetched is not what the lock files name
├── BuildError                Weaviate did not compile
├── StackConflictError        another stack is up in this folder
├── PartError                 a process did not start, or died while starting
├── StackUnknownError         no stack to speak of
└── PartUnknownError          the stack has no such part
```
"""


class StackError(Exception):
    """A stack command cannot do its work.

    Args:
        message: What is wrong, with its cause.
        next_step: What the reader can do about it.
    """

    def __init__(self, message: str, next_step: str) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step


class ToolchainMissingError(StackError):
    """No usable Java, Go, redis-server or uv was found."""


class FetchError(StackError):
    """A package registry did not deliver."""


class ChecksumError(StackError):
    """A fetched artifact differs from the one the lock files name; it is never used."""


class BuildError(StackError):
    """Weaviate did not compile."""


class StackConflictError(StackError):
    """Another stack is up in the same folder."""


class PartError(StackError):
    """A process did not start, died while starting, or did not stop."""


class StackUnknownError(StackError):
    """There is no stack to speak of."""


class PartUnknownError(StackError):
    """The stack has no part of that name."""
