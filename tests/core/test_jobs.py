"""What a user sees of a job that ends well, fails, or is killed: run as real processes."""

import logging
import os
import platform
import pty
import signal
import subprocess
import sys
import termios
import textwrap
import time
from importlib import metadata
from types import SimpleNamespace

import pytest

from zscope.core import jobs
from zscope.core.errors import DataError
from zscope.core.jobs import job, progress

HEAD = """
import errno, logging, os, sys, time
from types import SimpleNamespace
from zscope.core import errors
from zscope.core import jobs
from zscope.core.files import atomic_path
from zscope.core.jobs import job, progress

snakemake = SimpleNamespace(
    rule="train_run", wildcards={"run": "order-3"}, threads=2, log=["logs/train_run/order-3.log"],
    input=["facts.parquet"], output=["results/facts.parquet", "results/metrics.parquet"],
    params=SimpleNamespace(tracked={"code": "abc", "slice": {"lr": 0.1}}),
)
"""


@pytest.fixture
def script(tmp_path):
    """Writes a script whose job, called `this`, has `body`; returns the command that runs it."""

    def write(body, *, head=""):
        path = tmp_path / "script.py"
        text = HEAD + textwrap.dedent(head) + '\nwith job(snakemake, "numpy") as this:\n'
        path.write_text(text + textwrap.indent(textwrap.dedent(body), "    "))
        return [sys.executable, str(path)]

    return write


@pytest.fixture
def run(script, tmp_path):
    def run_script(body, *, head=""):
        return subprocess.run(
            script(body, head=head), cwd=tmp_path, capture_output=True, text=True, timeout=15
        )

    return run_script


def log_of(tmp_path):
    return (tmp_path / "logs/train_run/order-3.log").read_text()


def test_all_output_goes_to_the_log_and_to_stderr(run, tmp_path):
    done = run(
        """
        print("to stdout")
        print("to stderr", file=sys.stderr)
        logging.getLogger("zscope.training").info("a line of the library")
        logging.getLogger(__name__).info("a line of the script")
        logging.getLogger("other").info("chatter")
        logging.getLogger("other").warning("a warning of another package")
        """
    )
    assert done.returncode == 0
    assert done.stdout == ""
    assert done.stderr == log_of(tmp_path)
    first, *lines, last = done.stderr.splitlines()
    for part in ("rule train_run", "run=order-3", "2 threads", "pid "):
        assert part in first
    assert lines[:2] == ["to stdout", "to stderr"]
    assert lines[2].endswith(" a line of the library")
    assert lines[3].endswith(" a line of the script")
    assert lines[4:] == [lines[4]]
    assert lines[4].endswith(" a warning of another package")
    assert last.startswith("done after ")
    assert last.endswith(" MiB")


def test_the_log_can_be_read_while_the_job_runs(run):
    body = """
    print("early")
    print("seen" if "early" in open(snakemake.log[0]).read() else "no")
    """
    assert "seen" in run(body).stderr


@pytest.mark.parametrize("log", ["[]", "''"])
def test_a_job_without_a_log_runs(run, tmp_path, log):
    done = run('print("here")', head=f"snakemake.log = {log}")
    assert done.returncode == 0
    assert "here" in done.stderr
    assert not (tmp_path / "logs").exists()


def short_message(done, tmp_path):
    """The lines between the first and the last, after the checks that every failure shares."""
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr == log_of(tmp_path)
    _, *message, last = done.stderr.splitlines()
    assert last.startswith("failed with exit status 1 after ")
    assert len(message) <= 4
    assert message[0].startswith("Error: ")
    return "\n".join(message)


def test_a_user_error_is_its_message_only(run, tmp_path):
    done = run(
        """
        try:
            {}["cause"]
        except KeyError as error:
            raise errors.DataError("facts.parquet: no rows\\n  Rebuild it.") from error
        """
    )
    assert short_message(done, tmp_path) == "Error: facts.parquet: no rows\n  Rebuild it."


@pytest.mark.parametrize(
    ("raised", "parts"),
    [
        ("OSError(errno.ENOSPC, 'No space left on device', 'a/b')", ["no space", "a/b", "df -h a"]),
        ("OSError(errno.ENOSPC, 'No space left on device')", ["no space", "facts.parquet", "df"]),
        ("ValueError('I/O error: No space left on device')", ["no space", "facts.parquet"]),
        ("OSError(errno.EDQUOT, 'Disk quota exceeded', 'a/b')", ["quota exceeded", "a/b"]),
        ("PermissionError(errno.EACCES, 'Permission denied', 'a/b')", ["a/b", "denied", "ls -ld"]),
        ("OSError(errno.EROFS, 'Read-only file system', b'a/b')", ["a/b", "read-only"]),
        ("MemoryError()", ["out of memory", "MiB", "mem_mb"]),
        (
            "type('OutOfMemoryError', (RuntimeError,), {})('CUDA full. More')",
            ["GPU", "CUDA full\n"],
        ),
    ],
)
def test_a_failure_of_the_machine_names_the_path_and_the_way_out(run, tmp_path, raised, parts):
    message = short_message(run(f"raise {raised}"), tmp_path)
    for part in parts:
        assert part in message


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_really_full_disk(run, tmp_path):
    body = """
    with atomic_path("results/metrics.parquet") as temporary:
        os.symlink("/dev/full", temporary)
        with open(temporary, "w") as file:
            file.write("x")
    """
    message = short_message(run(body), tmp_path)
    assert "no space left on device while writing results/metrics.parquet" in message
    assert list((tmp_path / "results").iterdir()) == []


@pytest.mark.parametrize("raised", ["KeyError('step')", "PermissionError(13, 'no path')"])
def test_a_bug_shows_its_traceback(run, tmp_path, raised):
    done = run(f"raise {raised}")
    assert done.returncode == 1
    assert done.stderr.count("Traceback (most recent call last)") == 1
    assert f"raise {raised}" in done.stderr
    assert done.stderr == log_of(tmp_path)


def test_a_log_that_cannot_be_opened_is_a_short_message(run, tmp_path):
    (tmp_path / "logs").write_text("a file, not a folder")
    done = run("print('never here')")
    assert done.returncode == 1
    assert "never here" not in done.stderr
    assert "logs/train_run" in done.stderr


def test_exits_keep_their_status(run):
    assert run("sys.exit(0)").returncode == 0
    assert run("sys.exit(7)").returncode == 7
    done = run("sys.exit('why')")
    assert done.returncode == 1
    assert "Error: why" in done.stderr


@pytest.mark.parametrize("body", ["pass", "raise errors.DataError('no')", "raise KeyError('bug')"])
def test_leftovers_beside_the_outputs_are_removed(run, tmp_path, body):
    folder = tmp_path / "results"
    folder.mkdir()
    for name in (".facts.parquet.1.tmp", ".other.parquet.1.tmp", "facts.parquet"):
        (folder / name).touch()
    run(f'open("results/.metrics.parquet.2.tmp", "w").close()\n{body}')
    assert {path.name for path in folder.iterdir()} == {".other.parquet.1.tmp", "facts.parquet"}


@pytest.mark.parametrize(
    ("signum", "status", "word"),
    [(signal.SIGTERM, 143, "Terminated."), (signal.SIGINT, 130, "Interrupted.")],
)
def test_a_signal_runs_the_finally_blocks(script, tmp_path, signum, status, word):
    command = script(
        """
        with atomic_path("results/facts.parquet") as temporary:
            temporary.write_text("half")
            try:
                print("ready")
                time.sleep(30)
            finally:
                os.kill(os.getpid(), 15)  # a second one does not cut this short
                time.sleep(0.05)
                print("cleaned")
        """
        if signum == signal.SIGTERM
        else """
        with atomic_path("results/facts.parquet") as temporary:
            temporary.write_text("half")
            try:
                print("ready")
                time.sleep(30)
            finally:
                print("cleaned")
        """
    )
    log = tmp_path / "logs/train_run/order-3.log"
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
        # What runs in a shell's background ignores Ctrl-C, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 15
    while not (log.exists() and "ready" in log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signum)
    assert process.wait(timeout=10) == status
    lines = log.read_text().splitlines()
    assert lines[1:4] == ["ready", "cleaned", word]
    assert lines[-1].startswith(f"failed with exit status {status} after ")
    assert list((tmp_path / "results").iterdir()) == []


# --- progress ------------------------------------------------------------------------------

LOOP = """
jobs.SECONDS_BETWEEN_LINES = 0.2
items = (time.sleep(0.06) or i for i in range(12))
assert list(progress(items, desc="train", total=12)) == list(range(12))
"""


def test_without_a_terminal_progress_is_a_few_lines(run, tmp_path):
    done = run(LOOP)
    assert done.returncode == 0, done.stderr
    assert done.stderr == log_of(tmp_path)
    _, *lines, _ = done.stderr.splitlines()
    assert 2 <= len(lines) <= 5
    assert "train: 12/12 (" in lines[-1]
    assert "left)" in lines[0]
    assert "\r" not in done.stderr


def test_on_a_terminal_progress_is_a_bar_and_the_log_has_the_lines(script, tmp_path):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    try:
        command = script(LOOP)
        done = subprocess.run(command, cwd=tmp_path, stdout=theirs, stderr=theirs, timeout=15)
        shown = os.read(ours, 2**16).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 0, shown
    assert "train:" in shown
    assert "12 [" in shown  # tqdm's "3/12 [00:00<...]"
    assert "left)" not in shown
    assert "train: 12/12 (" in log_of(tmp_path)
    assert "12 [" not in log_of(tmp_path)


def test_a_short_loop_logs_nothing(caplog):
    caplog.set_level(logging.INFO)
    assert list(progress([1, 2], desc="short")) == [1, 2]
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("count", "total", "seconds", "line"),
    [
        (50, 200, 10.0, "train: 50/200 (5/s, 30 s left)"),
        (10, 7200, 20.0, "train: 10/7200 (0.5/s, 4 h 0 min left)"),
        (1, 100, 20.0, "train: 1/100 (0.05/s, 33 min left)"),
        (50, None, 10.0, "train: 50 (5/s)"),
        (200, 200, 40.0, "train: 200/200 (5/s, 40 s)"),
        (0, 0, 0.0, "train: 0/0 (0/s, 0 s)"),
    ],
)
def test_progress_lines(count, total, seconds, line):
    assert jobs._progress_line("train", count, total, seconds) == line


# --- in this process -----------------------------------------------------------------------


TRACKED = {"code": "abc", "slice": {"lr": 0.1, "steps": 3}}


def fake(tmp_path, **changes):
    plain = {
        "rule": "r",
        "wildcards": {"run": "a"},
        "threads": 1,
        "log": [str(tmp_path / "r.log")],
        "input": ["facts"],
        "output": [],
        "params": SimpleNamespace(tracked=TRACKED),
    }
    return SimpleNamespace(**plain | changes)


def test_everything_is_put_back_after_a_job(tmp_path):
    def state():
        root = logging.getLogger()
        return sys.stdout, sys.stderr, root.handlers, root.level, signal.getsignal(signal.SIGTERM)

    before = state()
    with job(fake(tmp_path)):
        assert state() != before
    assert state() == before
    with pytest.raises(SystemExit) as caught, job(fake(tmp_path)):
        raise DataError("no")
    assert caught.value.code == 1
    assert state() == before


def test_a_job_hands_on_what_snakemake_gave_it(tmp_path):
    snakemake = fake(tmp_path, output=[str(tmp_path / "a")])
    with job(snakemake) as this:
        assert this.input is snakemake.input
        assert this.output is snakemake.output
        assert this.wildcards is snakemake.wildcards
        assert this.slice == TRACKED["slice"]


def test_the_provenance_holds_code_slice_and_the_versions_of_what_the_script_names(tmp_path):
    with job(fake(tmp_path), "numpy", "no-such-package") as this:
        assert this.provenance == TRACKED | {
            "versions": {
                "python": platform.python_version(),
                "numpy": metadata.version("numpy"),
                "no-such-package": "not installed",
            }
        }
    with job(fake(tmp_path)) as this:
        assert set(this.provenance["versions"]) == {"python"}


def test_a_rule_that_tracks_nothing_has_an_empty_slice(tmp_path):
    with job(fake(tmp_path, params=SimpleNamespace())) as this:
        assert this.slice == {}
        assert set(this.provenance) == {"versions"}


@pytest.mark.parametrize("threads", [1, 3])
def test_torch_gets_the_threads_of_the_job(run, threads):
    body = "print('threads:', torch.get_num_threads(), os.environ['OMP_NUM_THREADS'])"
    done = run(body, head=f"import torch; snakemake.threads = {threads}")
    assert f"threads: {threads} {threads}\n" in done.stderr


def test_a_job_without_torch_does_not_import_it(run):
    assert "torch: False" in run("print('torch:', 'torch' in sys.modules)").stderr


def test_importing_jobs_is_cheap():
    code = "import sys, zscope.core.jobs; print(*{m.split('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "pandas", "tqdm"} & set(done.stdout.split())


def test_peak_memory_is_in_mib():
    code = (
        "x = bytearray(300 * 2**20); del x; import zscope.core.jobs as j; print(j.peak_rss_mib())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 300 < float(done.stdout) < 400


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="Linux only")
def test_peak_memory_is_not_inherited_from_a_large_parent():
    child = "from zscope.core.jobs import peak_rss_mib; print(peak_rss_mib())"
    code = f"""
import os, sys
x = bytearray(300 * 2**20)
if os.fork() == 0:
    os.execv(sys.executable, [sys.executable, "-c", "{child}"])
os.wait()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 200
