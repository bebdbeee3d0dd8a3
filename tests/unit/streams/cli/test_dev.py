"""Watching over the worker of `memstream dev`."""

from pathlib import Path
from typing import cast

import pytest
from click.testing import CliRunner

from streams.cli import dev
from streams.cli.child_worker import ChildWorker, only_one
from streams.cli.main import main


class DyingWorker:
    """Dies each time it is looked at, unless it has been started often enough.

    Args:
        lives_after: starts after which it stays.
    """

    pid = 1
    log = Path("worker.log")

    def __init__(self, lives_after: int) -> None:
        self._lives_after = lives_after
        self.starts = 0

    @property
    def exit_code(self) -> int | None:
        """How it ended; once it lives, the test's Ctrl-C comes."""
        if self.starts >= self._lives_after:
            raise KeyboardInterrupt
        return 1

    def start(self) -> None:
        """Count it."""
        self.starts += 1

    def last_lines(self, _: int) -> list[str]:
        """Why it died."""
        return ["stage_failed: the store refuses"]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev.time, "sleep", lambda _: None)


def test_a_worker_that_keeps_dying_is_given_up(capsys: pytest.CaptureFixture[str]) -> None:
    """After three restarts the command says why the worker died and fails."""
    worker = DyingWorker(lives_after=99)
    with pytest.raises(SystemExit) as ended:
        dev._watch(cast("ChildWorker", worker))
    assert (ended.value.code, worker.starts) == (1, 3)
    assert "the store refuses" in capsys.readouterr().err


def test_a_worker_that_died_once_is_started_again() -> None:
    """A crash is no reason to stop: the worker comes back, and the command goes on until Ctrl-C."""
    worker = DyingWorker(lives_after=1)
    with pytest.raises(KeyboardInterrupt):
        dev._watch(cast("ChildWorker", worker))
    assert worker.starts == 1


def test_a_second_dev_of_one_home_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would add a worker, take over the first one's log, and maybe its stack away; nothing is started."""
    monkeypatch.setenv("MEMSTREAM_HOME", str(tmp_path))
    with only_one(tmp_path / "dev.lock", otherwise=AssertionError()):
        refused = CliRunner().invoke(main, ["dev"])
    assert refused.exit_code == 2
    assert "another memstream dev runs with the same MEMSTREAM_HOME" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["dev.lock"]
