"""`memstream schemas export`: writes every document, says which, and fails in words."""

import json
from pathlib import Path

from click.testing import CliRunner

from schemas import export
from streams.cli.schemas import schemas
from topology import asyncapi


def test_every_document_is_written_and_named(tmp_path: Path) -> None:
    """The folder is made, and holds all JSON Schemas and the AsyncAPI document."""
    out = tmp_path / "new" / "folder"
    result = CliRunner().invoke(schemas, ["export", "--out", str(out)])
    assert result.exit_code == 0
    written = {path.relative_to(out).as_posix(): json.loads(path.read_text()) for path in out.rglob("*.json")}
    assert written == {**export.documents(), "asyncapi.json": asyncapi.document()}
    assert sorted(result.stdout.splitlines()) == sorted(str(out / name) for name in written)


def test_programs_get_the_files_as_json(tmp_path: Path) -> None:
    """With `--json`, one document lists the same files."""
    result = CliRunner().invoke(schemas, ["export", "--out", str(tmp_path), "--json"])
    files = json.loads(result.stdout)["files"]
    assert sorted(map(Path, files)) == sorted(tmp_path.rglob("*.json"))


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    """The message names the folder and what to do, without a traceback."""
    (tmp_path / "file").write_text("in the way")
    out = tmp_path / "file" / "below"
    result = CliRunner().invoke(schemas, ["export", "--out", str(out)])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"error: cannot write to {out}: ")
    assert "\nnext: name another folder with --out\n" in result.stderr
