"""How long work tells that it goes on."""

import io
import time

import pytest
from rich.console import Console

from infra.native.progress import Lines, Live


def test_a_log_gets_a_line_now_and_then_with_the_newest_detail() -> None:
    """Off a terminal, a silent step still writes lines, with the elapsed time and what was said last."""
    output = io.StringIO()

    with Lines(output, every_s=0.05).step("building") as step:
        step.say("compiled 1")
        step.say("compiled 2")
        time.sleep(0.2)

    lines = output.getvalue().splitlines()
    assert lines[0] == "building ..."
    assert lines[1] == "building: 0 s, compiled 2"
    assert lines[-1].startswith("building: done in 0.")


def test_a_failed_step_is_not_called_done() -> None:
    """A step that ends in an error leaves no line that says it was done."""
    output = io.StringIO()

    with pytest.raises(ValueError, match="broken"), Lines(output).step("building"):
        raise ValueError("broken")

    assert output.getvalue() == "building ...\n"


def test_a_terminal_gets_a_spinner_and_one_line_that_stays() -> None:
    """On a terminal the newest detail is shown while the step runs, and one line stays."""
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=100)

    with Live(console).step("building") as step:
        step.say("compiled [7] of 9")
        time.sleep(0.3)

    assert "compiled [7] of 9" in output.getvalue()
    assert "done" in output.getvalue().splitlines()[-1]
