"""The folder of compiled code: only this user can write to it, and old folders do not stay for ever."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

SHOW = "from scout.ring.cache import cache_folder; print(cache_folder())"


def folder(umask: int = 0o022, **environment: str | None) -> subprocess.CompletedProcess[str]:
    """Have a new process say which folder it uses."""
    given = {name: value for name, value in (os.environ | environment).items() if value is not None}
    return subprocess.run(
        [sys.executable, "-c", SHOW], env=given, umask=umask, capture_output=True, text=True, check=False
    )


def mode(path: str | Path) -> int:
    return Path(path).stat().st_mode & 0o777


COMPILE = """
from numba import types
from scout.ring.jit import entry

@entry(types.int64(types.int64))
def twice(value):
    return 2 * value

print("ready", flush=True)
input()
print(twice(21), sum(twice.native.stats.cache_misses.values()))
"""


def test_of_processes_that_start_together_one_compiles(tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text(COMPILE)
    environment = os.environ | {"SCOUT_CACHE": str(tmp_path / "cache"), "SCOUT_CHECKED": ""}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    started = [subprocess.Popen([sys.executable, str(file)], **pipes) for _ in range(2)]
    for each in started:
        assert each.stdout.readline() == "ready\n"
    for each in started:
        each.stdin.write("\n")
        each.stdin.flush()
    found = [each.communicate()[0].split() for each in started]
    assert sorted(found) == [["42", "0"], ["42", "1"]]


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o000])
def test_new_folders_are_this_users_alone(tmp_path: Path, umask: int) -> None:
    root = tmp_path / "deep" / "cache"
    first, again = (folder(umask, SCOUT_CACHE=str(root)).stdout.strip() for _ in range(2))
    assert first == again and Path(first).parent == root
    assert (mode(root), mode(first)) == (0o700, 0o700)


@pytest.mark.parametrize("others", [0o775, 0o777, 0o720])
def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path, others: int) -> None:
    tmp_path.chmod(others)
    done = folder(SCOUT_CACHE=str(tmp_path))
    assert done.returncode and f"SCOUT_CACHE={tmp_path}" in done.stderr and f"chmod 700 {tmp_path}" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.mkdir(mode=0o700)
    link.symlink_to(target)
    assert "no folder itself but a link" in folder(SCOUT_CACHE=str(link)).stderr
    assert not list(target.iterdir())


@pytest.mark.parametrize("home", ["", "/proc", "/proc/nowhere", "not/absolute"])
@pytest.mark.parametrize("name", ["HOME", "XDG_CACHE_HOME"])
def test_a_home_that_cannot_be_used_is_left_out(tmp_path: Path, name: str, home: str) -> None:
    environment = {"SCOUT_CACHE": None, "XDG_CACHE_HOME": None, "HOME": "/proc", "TMPDIR": str(tmp_path), name: home}
    done = folder(**environment)
    assert done.stdout.startswith(f"{tmp_path}/scout-{os.getuid()}/"), done.stderr


@pytest.mark.needs_namespaces
def test_a_user_without_home_and_name(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)}
    nobody = ["unshare", "--user", "--map-user=54321", "--map-group=54321"]
    done = subprocess.run(
        [*nobody, sys.executable, "-c", SHOW], env=environment, cwd="/", capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith(f"{tmp_path}/scout-54321/"), done.stderr


def test_without_any_folder_a_temporary_one_serves_until_the_end(tmp_path: Path) -> None:
    planted = tmp_path / f"scout-{os.getuid()}"
    planted.mkdir()
    planted.chmod(0o777)
    done = folder(SCOUT_CACHE=None, XDG_CACHE_HOME="/proc/nowhere", TMPDIR=str(tmp_path))
    used = Path(done.stdout.strip())
    assert used.parent == tmp_path and used != planted and not used.exists()


def test_folders_of_old_sources_are_deleted(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    old = [tmp_path / f"{number:016x}" for number in range(12)]
    for age, each in enumerate(old):
        each.mkdir()
        os.utime(each, (time.time() - 86400 * (age + 1),) * 2)
    foreign = tmp_path / "notes"
    foreign.mkdir()
    current = folder(SCOUT_CACHE=str(tmp_path)).stdout.strip()
    left = {each.name for each in tmp_path.iterdir()} - {Path(current).name, "notes"}
    assert left == {each.name for each in old[:8]}
    assert foreign.exists()


def test_the_folder_depends_on_all_sources(tmp_path: Path, monkeypatch: Any) -> None:
    from scout.ring import cache

    top = tmp_path / "scout"
    parts = [top / part / "module.py" for part in ("ring", "io", "paths", "tools")] + [top / "module.py"]
    for part in parts:
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_text("A = 1\n")
    monkeypatch.setattr(cache, "__file__", str(top / "ring" / "cache.py"))
    seen = {cache._fingerprint()}
    for part in parts:
        part.write_text("A = 2\n")
        seen.add(cache._fingerprint())
    assert len(seen) == len(parts) + 1


WRITE = """
import os, signal
from scout.ring import cache

def stop(*names):
    print("about to rename", flush=True)
    input()
    rename(*names)

rename, os.replace = os.replace, stop
cache.write(cache.cache_folder() / "objects" / "a.o", b"whole")
"""


def partial(root: Path) -> list[Path]:
    return [each for each in root.rglob("*") if ".tmp" in each.name]


def test_what_a_killed_process_was_writing_is_deleted_at_the_next_start(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITE], **pipes, env=os.environ | {"SCOUT_CACHE": str(root)})
        for _ in range(2)
    ]
    for each in writers:
        assert each.stdout.readline() == "about to rename\n"
    killed, alive = writers
    killed.kill()
    killed.communicate()
    current = Path(folder(SCOUT_CACHE=str(root)).stdout.strip())
    assert len(partial(root)) == 2, "a process is writing"
    alive.communicate("\n")
    assert alive.returncode == 0 and (current / "objects" / "a.o").read_bytes() == b"whole"
    (current / "numba").mkdir()
    (current / "numba" / "f.nbi.tmp.0123456789abcdef").touch()  # numba's, as a killed process leaves it
    assert len(partial(root)) == 2
    folder(SCOUT_CACHE=str(root))
    assert not partial(root) and (current / "objects" / "a.o").exists()


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    from scout.ring import cache

    def full(*names: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(cache.os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        cache.write(tmp_path / "objects" / "a.o", b"whole")
    assert not list((tmp_path / "objects").iterdir())


LONG = """
import os
from scout.ring.cache import cache_folder

folder = cache_folder()
if os.fork():
    print(folder, flush=True)  # when there is a child, and not before: the test kills this process at once
input()
"""


def test_a_killed_process_leaves_its_temporary_folder_to_the_next_start(tmp_path: Path) -> None:
    environment = {"SCOUT_CACHE": None, "XDG_CACHE_HOME": "/proc/nowhere", "TMPDIR": str(tmp_path)}
    (tmp_path / f"scout-{os.getuid()}").touch()  # so that the usual folder cannot be used
    foreign = tmp_path / "scout-notes"
    foreign.mkdir()
    given = {name: value for name, value in (os.environ | environment).items() if value is not None}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": given}
    process = subprocess.Popen([sys.executable, "-c", LONG], **pipes)
    used = Path(process.stdout.readline().strip())
    process.kill()
    process.wait()
    assert used.parent == tmp_path
    folder(**environment)
    assert used.exists(), "a child of the process still uses it"
    process.stdin.close()  # its end
    process.stdout.close()
    for _ in range(1000):
        folder(**environment)
        if not used.exists():
            break
    assert not used.exists() and foreign.exists()
