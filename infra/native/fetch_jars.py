"""Child process: fetches Maven artifacts with jgo, which lives in the cache folder and not in our environment.

Run by `infra.native.kafka_jars` with jgo on PYTHONPATH; it imports nothing of ours. Two commands:

    fetch_jars.py fetch FOLDER < coordinates    prints "<coordinate> <path>" for each fetched file
    fetch_jars.py resolve FOLDER < coordinates  prints every coordinate of the run-time tree, for a new lock file

A coordinate is `group:artifact:version`. Nothing is verified here: the parent compares SHA-256 sums.
"""

import sys
from pathlib import Path

from jgo.maven import MavenContext  # type: ignore[import-not-found, unused-ignore]


def fetch(context: MavenContext, coordinates: list[str]) -> None:
    """Fetch exactly these artifacts; their dependencies are not followed, the lock file names them all."""
    for coordinate in coordinates:
        path = context.create_dependency(coordinate).artifact.resolve()
        sys.stdout.write(f"{coordinate} {path}\n")
        sys.stdout.flush()


def resolve(context: MavenContext, coordinates: list[str]) -> None:
    """Print the coordinates of these artifacts and of everything they need at run time."""
    wanted = [context.create_dependency(coordinate) for coordinate in coordinates]
    inputs, transitive = context.resolver.resolve(wanted)
    found = {f"{d.groupId}:{d.artifactId}:{d.version}" for d in (*inputs, *transitive) if d.type == "jar"}
    sys.stdout.write("".join(f"{coordinate}\n" for coordinate in sorted(found)))


if __name__ == "__main__":
    command, folder = sys.argv[1:]
    {"fetch": fetch, "resolve": resolve}[command](
        MavenContext(repo_cache=Path(folder), timeout=60), sys.stdin.read().split()
    )
