"""A step as a process: its output, its secrets, and the end of all processes that it started."""
from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import SOURCE, wait_for

RUN = """\
import sys, threading, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from taglab.runner.children import adopt_orphans, kill_descendants
from taglab.runner.process import Log, Processes
from taglab.masking import make_mask
adopt_orphans()
folder, secrets = Path(sys.argv[2]), sys.argv[3].split(",")
log, processes = Log(folder / "log"), Processes()
def stop():
    while not (folder / "stop").exists():
        time.sleep(0.05)
    processes.stop()
threading.Thread(target=stop, daemon=True).start()
print(processes.run(sys.argv[4:], folder, {"PATH": "/usr/bin:/bin:" + sys.argv[1]},
                    lambda text: log.write("a", text), make_mask(secrets)))
kill_descendants()
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""
WRITE = f"{sys.executable} -c 'import os, sys, time; w = sys.stdout.buffer.write; {{}}'"


def run(folder: Path, *commands: str, secrets: str = "") -> tuple[int, int, bytes]:
    """Run a step in a new process; return its exit code, the peak memory in MiB and the log.

    Creating a file `stop` in the folder stops it.
    """
    (folder / "log").unlink(missing_ok=True)
    done = subprocess.run([sys.executable, "-c", RUN, str(SOURCE), str(folder), secrets,
                           *commands], capture_output=True, text=True, timeout=120)
    code, memory = done.stdout.split()
    return int(code), int(memory) // 1024, (folder / "log").read_bytes()


def printed(log: bytes) -> bytes:
    """Return the output of a step's only command, with its lines joined."""
    return re.sub(rb"\n(\[a\] )?", b"", log.split(b"\n", 1)[1].removeprefix(b"[a] "))


def is_alive(file: Path) -> bool:
    """Return whether the process whose id is in the file is still running."""
    state = Path("/proc", file.read_text().strip(), "stat")
    return state.exists() and ") Z" not in state.read_text()


@pytest.fixture
def started_by(tmp_path: Path):
    """Return a folder; assert at the end that all processes with a file NAME.pid in it ended."""
    yield tmp_path
    files = list(tmp_path.glob("*.pid"))
    assert files
    for file in files:
        wait_for(lambda: not is_alive(file), 10)


ESCAPING = {  # shell commands that start a process in an unusual place; its id is in NAME.pid
    "child": "sh -c 'echo $$ > child.pid; exec sleep 60' &",
    "session": "setsid sh -c 'echo $$ > session.pid; exec sleep 60' &",
    "orphan": "(setsid sh -c 'echo $$ > orphan.pid; exec sleep 60' &)",
    "grandchild": "(setsid sh -c 'sh -c \"echo \\$\\$ > grandchild.pid; sleep 60\"; true' &)",
    "other environment": "env -i setsid sh -c 'echo $$ > other.pid; exec sleep 60' &",
    "ignores SIGTERM": "setsid sh -c 'trap \"\" TERM HUP INT; echo $$ > ignores.pid; "
                       "while :; do sleep 1; done' &",
}
WAIT = "until [ $(cat *.pid | wc -l) = {} ]; do sleep 0.1; done"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("escaping", ESCAPING)
def test_background_processes_end_with_their_step(started_by: Path, escaping: str) -> None:
    before = time.monotonic()
    code, _, _ = run(started_by, ESCAPING[escaping], WAIT.format(1), "exit 3")
    ends_with_the_build = escaping == "other environment"  # its step cannot be known
    assert code == 3 and time.monotonic() - before < (9 if ends_with_the_build else 4)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_stopping_a_step_ends_all_its_processes(started_by: Path) -> None:
    before = time.monotonic()
    code, _, _ = run(started_by, *ESCAPING.values(), WAIT.format(len(ESCAPING)), "touch stop",
                     "sleep 60")
    assert code in (137, 143)
    assert 10 < time.monotonic() - before < 20  # one ignored SIGTERM for the grace period
    assert len(list(started_by.glob("*.pid"))) == len(ESCAPING)


KILL_WHILE_WAITING = """\
import subprocess, sys, threading
sys.path.insert(0, sys.argv[1])
from taglab.runner.children import kill_descendants
with subprocess.Popen(["sleep", "60"], stdout=subprocess.PIPE) as process:
    ending = threading.Thread(target=kill_descendants)
    ending.start()
    process.stdout.read()
    ending.join()
sys.exit(process.returncode)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_caller_that_waits_for_a_killed_descendant_learns_its_exit_status() -> None:
    done = subprocess.run([sys.executable, "-c", KILL_WHILE_WAITING, str(SOURCE)], timeout=60)
    assert done.returncode != 0


def test_a_stopped_step_has_time_to_shut_down(tmp_path: Path) -> None:
    program = ("import signal, sys, time\n"
               "def end(*_):\n    time.sleep(2); print('shut down', flush=True); sys.exit(1)\n"
               "signal.signal(signal.SIGTERM, end)\nopen('stop', 'w')\ntime.sleep(60)\n")
    (tmp_path / "main.py").write_text(program)
    _, _, log = run(tmp_path, f"{sys.executable} main.py", "echo never")
    assert b"[a] shut down" in log and b"[a] never" not in log
    # The grace period, of ten seconds, ends when the step does.
    assert time.time() - (tmp_path / "stop").stat().st_mtime < 8


def test_a_large_output_takes_little_memory(tmp_path: Path) -> None:
    code, memory, log = run(tmp_path, "yes 0123456789012345678901234567890 | head -c 200000000")
    assert code == 0 and len(log) > 200_000_000 and memory < 60


@pytest.mark.parametrize("secrets", ["", "hunter22"])
def test_a_very_long_line_is_kept_and_takes_little_memory(tmp_path: Path, secrets: str) -> None:
    code, memory, log = run(tmp_path, WRITE.format("[w(b\"x\" * 1000000) for _ in range(50)]"),
                            secrets=secrets)
    assert code == 0 and memory < 60
    assert printed(log) == b"x" * 50_000_000


@pytest.mark.parametrize("program", [
    'w(b"." * 65533 + b"hunter22" + bytes([10]))',  # across two reads of the pipe
    '[(w(part), sys.stdout.flush(), time.sleep(0.2)) for part in (b"hun", b"ter", b"22")]',
    '[(w(part), sys.stdout.flush(), time.sleep(0.2)) for part in (bytes([46, 10]) + b"hun", '
    'b"ter22")]',
    'w(b"." * (1024 * 1024 + 65536 - 3) + b"hunter22" + b"." * 100000)',  # a line without an end
    'w(b"hunter22" * 400000)',
    'w(b"hunter2" * 400000)',  # a secret that is the beginning of another
])
def test_secrets_are_masked_however_the_output_is_chunked(tmp_path: Path, program: str) -> None:
    code, _, log = run(tmp_path, WRITE.format(program), secrets="hunter22,hunter2,ab")
    shown = printed(log)
    assert code == 0 and b"hunter" not in shown and b"22" not in shown
    assert shown.count(b"*") // 6 == (400000 if "400000" in program else 1)


def test_a_long_line_is_never_split_inside_a_secret(tmp_path: Path) -> None:
    secret = "0123456789" * 40
    program = 'w((b"0123456789" * 40 + b"-") * 10000)'
    _, _, log = run(tmp_path, WRITE.format(program), secrets=f"{secret},{secret[:200]}")
    assert printed(log) == b"******-" * 10000


def test_the_last_output_is_kept_without_waiting_for_background_processes(tmp_path: Path) -> None:
    _, _, log = run(tmp_path, "(sleep 60; echo never) & head -c 300000 /dev/zero | base64 -w 0; "
                    "echo; printf 'last without an end'")
    assert log.endswith(b"A\n[a] last without an end\n") and b"\n[a] never" not in log


def test_a_log_that_cannot_be_written_stops_no_step(tmp_path: Path) -> None:
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))\n{RUN}"
    limited += "print(log.failure)\n"
    done = subprocess.run(
        [sys.executable, "-c", limited, str(SOURCE), str(tmp_path), "",
         "yes | head -c 5000000", "exit 7"], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("7\n") and "could not be written: File too large" in done.stdout
    assert os.path.getsize(tmp_path / "log") == 100000
