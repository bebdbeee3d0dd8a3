"""The command line of the engine benchmark."""

from click.testing import CliRunner

from benchmarks.engine.__main__ import main


def test_wrong_use_is_refused_before_anything_starts() -> None:
    """Too few events or rounds end with exit code 2."""
    for arguments in (["--events", "10"], ["--rounds", "0"], ["--what"]):
        assert CliRunner().invoke(main, arguments).exit_code == 2
