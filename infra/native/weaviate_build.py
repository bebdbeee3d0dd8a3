"""The Weaviate server, built from the Go module proxy: no prebuilt binary of it is in any package registry.

What is verified: the sum of Weaviate's own module is pinned in `locks/weaviate.json` and compared before anything of it
is compiled. That module holds a `go.sum`, and the build runs inside it with `-mod=readonly`, so Go refuses every
dependency that differs from the sums Weaviate's authors had. One pinned sum thus fixes all of the source.
"""

import os
import shutil
import tempfile
from pathlib import Path

import msgspec

from infra.native import toolchains
from infra.native.commands import CommandError, run
from infra.native.errors import BuildError, ChecksumError, FetchError, StackError
from infra.native.exclusive import exclusive
from infra.native.progress import Progress, Step

LOCK = toolchains.LOCKS / "weaviate.json"
# Go's module and build caches for this build, measured with 1.39.2; they are deleted afterwards.
NEEDED_BYTES = 4_500_000_000


class WeaviateLock(msgspec.Struct, frozen=True):
    """Which Weaviate: module, version, the package to build and the module's sum as Go writes it."""

    module: str
    version: str
    package: str
    module_sum: str


class _Module(msgspec.Struct, rename="pascal"):
    """The part we read of what `go mod download -json` prints."""

    sum: str = ""
    dir: str = ""


def read_lock() -> WeaviateLock:
    """Return the lock file of this release."""
    return msgspec.json.decode(LOCK.read_bytes(), type=WeaviateLock)


def binary_path(cache: Path) -> Path:
    """Return where the built server is kept."""
    return cache / f"weaviate-{read_lock().version}" / "weaviate-server"


def binary(source: toolchains.Source, cache: Path, progress: Progress) -> Path:
    """Return the Weaviate server, built when it is not there yet: three to six minutes on two cores.

    Raises:
        FetchError: The module proxy did not deliver.
        ChecksumError: The module is not the pinned one.
        BuildError: It did not compile.
    """
    built = binary_path(cache)
    if built.exists():
        return built
    go = toolchains.go(source, cache, progress)
    with progress.step(f"building Weaviate {read_lock().version} (once, minutes)") as step:
        waiting = "another process builds; waiting for it"
        with exclusive(cache / "build.lock", on_wait=lambda: progress.note(waiting)):
            if not built.exists():
                for left_over in cache.glob("weaviate-build-*"):  # of a build that was killed
                    shutil.rmtree(left_over, ignore_errors=True)
                _check_space(cache)
                with tempfile.TemporaryDirectory(prefix="weaviate-build-", dir=cache) as scratch:
                    _build(go, Path(scratch), built, step)
    return built


def _build(go: Path, scratch: Path, built: Path, step: Step) -> None:
    lock = read_lock()
    env = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",  # never fetch another Go
        "GOWORK": "off",
        # modcacherw: or the caches could not be deleted; buildvcs: the cache folder may lie in somebody's repository.
        "GOFLAGS": "-modcacherw -buildvcs=false",
        "GOMODCACHE": str(scratch / "modules"),
        "GOCACHE": str(scratch / "objects"),
        "GOTMPDIR": str(scratch),
    }
    source = _download(go, lock, env, scratch)
    count = 0

    def fetched(line: str) -> None:
        nonlocal count
        count += line.startswith("go: downloading")
        step.say(f"fetched {count} modules")

    try:
        packages = run(
            [go, "list", "-mod=readonly", "-deps", lock.package],
            env=env,
            folder=source,
            on_line=fetched,
            with_errors=True,
        )
    except CommandError as error:
        raise FetchError(
            f"Weaviate's modules could not be fetched: {error}", "check the network, then try again"
        ) from error
    total = sum(not line.startswith("go: ") for line in packages)
    count = 0

    def compiled(line: str) -> None:
        nonlocal count
        count += not line.startswith("go: ")
        step.say(f"compiled {count} of about {total} packages")

    fresh = scratch / built.name
    build = [go, "build", "-v", "-mod=readonly", "-trimpath", "-ldflags", "-s -w", "-o", fresh, lock.package]
    try:
        run(build, env=env, folder=source, on_line=compiled, with_errors=True)
    except CommandError as error:
        raise BuildError(
            f"Weaviate did not compile: {error}", "free memory (it needs 2 GB), or use the light stack"
        ) from error
    built.parent.mkdir(parents=True, exist_ok=True)
    fresh.replace(built)


def _download(go: Path, lock: WeaviateLock, env: dict[str, str], scratch: Path) -> Path:
    """Fetch Weaviate's own module, compare its sum, return its folder."""
    try:
        said = run([go, "mod", "download", "-json", f"{lock.module}@{lock.version}"], env=env, folder=scratch)
    except CommandError as error:
        raise FetchError(
            f"Weaviate's source could not be fetched: {error}", "check the network, then try again"
        ) from error
    module = msgspec.json.decode("\n".join(said), type=_Module)
    if module.sum != lock.module_sum:
        raise ChecksumError(
            f"{lock.module} {lock.version} has the sum {module.sum}, the lock file names {lock.module_sum}",
            "do not trust the module proxy in use (go env GOPROXY)",
        )
    return Path(module.dir)


def _check_space(cache: Path) -> None:
    free = shutil.disk_usage(cache).free
    if free < NEEDED_BYTES:
        raise StackError(
            f"building Weaviate needs {NEEDED_BYTES / 1e9:.1f} GB in {cache} for a while, {free / 1e9:.1f} GB are free",
            "free some space, or set MEMSTREAM_CACHE to a folder on another disk",
        )
