"""A step as a process: its output, its secrets, and the end of all that it started."""
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
from taglab.runner.children import adopt_orphans, end_all_below
from taglab.runner.process import Log, Processes
from taglab.runner.secrets import make_mask
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
end_all_below()
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""
WRITE = f"{sys.executable} -c 'import os, sys, time; w = sys.stdout.buffer.write; {{}}'"


def run(folder: Path, *commands: str, secrets: str = "") -> tuple[int, int, bytes]:
    """Run a step in a process of its own: its exit code, the peak memory in MiB, the log.

    It is stopped once there is a file `stop` in the folder.
    """
    (folder / "log").unlink(missing_ok=True)
    done = subprocess.run([sys.executable, "-c", RUN, str(SOURCE), str(folder), secrets,
                           *commands], capture_output=True, text=True, timeout=120)
    code, memory = done.stdout.split()
    return int(code), int(memory) // 1024, (folder / "log").read_bytes()


def printed(log: bytes) -> bytes:
    """Return what the only command of a step printed, without the ends of lines."""
    return re.sub(rb"\n(\[a\] )?", b"", log.split(b"\n", 1)[1].removeprefix(b"[a] "))


def is_alive(file: Path) -> bool:
    """Say whether the process whose id is in the file has not ended."""
    state = Path("/proc", file.read_text().strip(), "stat")
    return state.exists() and ") Z" not in state.read_text()


@pytest.fixture
def started_by(tmp_path: Path):
    """Assert that none of the processes that wrote their id to a file NAME.pid is left."""
    yield tmp_path
    files = list(tmp_path.glob("*.pid"))
    assert files
    for file in files:
        wait_for(lambda: not is_alive(file), 10)


HIDING = {  # shell commands that start a process which hides; each writes its id to NAME.pid
    "child": "sh -c 'echo $$ > child.pid; exec sleep 60' &",
    "session": "setsid sh -c 'echo $$ > session.pid; exec sleep 60' &",
    "orphan": "(setsid sh -c 'echo $$ > orphan.pid; exec sleep 60' &)",
    "grandchild": "(setsid sh -c 'sh -c \"echo \\$\\$ > grandchild.pid; sleep 60\"; true' &)",
    "other environment": "env -i setsid sh -c 'echo $$ > other.pid; exec sleep 60' &",
    "deaf": "setsid sh -c 'trap \"\" TERM HUP INT; echo $$ > deaf.pid; while :; do sleep 1; done'"
            " &",
}


WAIT = "until [ $(cat *.pid | wc -l) = {} ]; do sleep 0.1; done"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("hiding", HIDING)
def test_what_a_step_leaves_behind_ends_with_it(started_by: Path, hiding: str) -> None:
    before = time.monotonic()
    code, _, _ = run(started_by, HIDING[hiding], WAIT.format(1), "exit 3")
    ends_with_the_build = hiding == "other environment"  # nobody can say which step's it is
    assert code == 3 and time.monotonic() - before < (9 if ends_with_the_build else 4)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_stopped_step_dies_with_all_that_hides(started_by: Path) -> None:
    before = time.monotonic()
    code, _, _ = run(started_by, *HIDING.values(), WAIT.format(len(HIDING)), "touch stop",
                     "sleep 60")
    assert code in (137, 143)
    assert 10 < time.monotonic() - before < 20  # the deaf one had its time of grace
    assert len(list(started_by.glob("*.pid"))) == len(HIDING)


ENDED = """\
import subprocess, sys, threading
sys.path.insert(0, sys.argv[1])
from taglab.runner.children import end_all_below
with subprocess.Popen(["sleep", "60"], stdout=subprocess.PIPE) as process:
    ending = threading.Thread(target=end_all_below)
    ending.start()
    process.stdout.read()
    ending.join()
sys.exit(process.returncode)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_who_waits_for_an_ended_process_learns_that_it_failed() -> None:
    done = subprocess.run([sys.executable, "-c", ENDED, str(SOURCE)], timeout=60)
    assert done.returncode != 0


def test_a_stopped_step_has_time_to_end_properly(tmp_path: Path) -> None:
    program = ("import signal, sys, time\n"
               "def end(*_):\n    time.sleep(2); print('ended properly', flush=True); sys.exit(1)\n"
               "signal.signal(signal.SIGTERM, end)\nopen('stop', 'w')\ntime.sleep(60)\n")
    (tmp_path / "main.py").write_text(program)
    before = time.monotonic()
    _, _, log = run(tmp_path, f"{sys.executable} main.py", "echo never")
    assert b"[a] ended properly" in log and b"[a] never" not in log
    assert time.monotonic() - before < 8  # and nobody waits longer than it takes


def test_a_step_may_print_more_than_there_is_memory_for(tmp_path: Path) -> None:
    code, memory, log = run(tmp_path, "yes 0123456789012345678901234567890 | head -c 200000000")
    assert code == 0 and len(log) > 200_000_000 and memory < 60


@pytest.mark.parametrize("secrets", ["", "hunter22"])
def test_a_line_longer_than_any_buffer_passes(tmp_path: Path, secrets: str) -> None:
    code, memory, log = run(tmp_path, WRITE.format("[w(b\"x\" * 1000000) for _ in range(50)]"),
                            secrets=secrets)
    assert code == 0 and memory < 60
    assert printed(log) == b"x" * 50_000_000


@pytest.mark.parametrize("program", [
    'w(b"." * 65533 + b"hunter22" + bytes([10]))',  # over the end of one read of the pipe
    '[(w(part), sys.stdout.flush(), time.sleep(0.2)) for part in (b"hun", b"ter", b"22")]',
    '[(w(part), sys.stdout.flush(), time.sleep(0.2)) for part in (bytes([46, 10]) + b"hun", '
    'b"ter22")]',
    'w(b"." * (1024 * 1024 + 65536 - 3) + b"hunter22" + b"." * 100000)',  # a line without an end
    'w(b"hunter22" * 400000)',
    'w(b"hunter2" * 400000)',  # one that begins the other
])
def test_secrets_are_masked_wherever_they_are_cut(tmp_path: Path, program: str) -> None:
    code, _, log = run(tmp_path, WRITE.format(program), secrets="hunter22,hunter2,ab")
    shown = printed(log)
    assert code == 0 and b"hunter" not in shown and b"22" not in shown
    assert shown.count(b"*") // 6 == (400000 if "400000" in program else 1)


def test_a_long_line_is_never_cut_inside_a_secret(tmp_path: Path) -> None:
    secret = "0123456789" * 40
    program = 'w((b"0123456789" * 40 + b"-") * 10000)'
    _, _, log = run(tmp_path, WRITE.format(program), secrets=f"{secret},{secret[:200]}")
    assert printed(log) == b"******-" * 10000


def test_what_is_printed_last_is_kept(tmp_path: Path) -> None:
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
