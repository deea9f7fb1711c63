"""The job helper of workflow scripts: log, errors, signals, threads, provenance, progress.

    if __name__ == "__main__":
        with job(snakemake, "numpy", "torch") as this:
            train_run(
                this.input.facts,
                this.output.metrics,
                run=RunConfig.model_validate(this.slice["run"]),
                provenance=this.provenance,
            )

Snakemake redirects nothing for `script:` rules, so the log is opened here.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, TypeVar

from zscope.core.errors import ZscopeError
from zscope.core.files import remove_leftovers
from zscope.core.provenance import versions

T = TypeVar("T")
Provenance = dict[str, Any]  # of an output: code digest, slice, versions

LOG = logging.getLogger(__name__)
SECONDS_BETWEEN_LINES = 10.0


class _Tee(io.TextIOBase):
    """Writes text to the terminal and the log.

    A stream that fails (a full disk, a closed pipe) is skipped: a job must not die because of its
    log.
    """

    def __init__(self, terminal: TextIO, log: TextIO | None) -> None:
        self.terminal = terminal
        self.streams = [terminal] if log is None else [terminal, log]

    def write(self, text: str) -> int:
        for stream in self.streams:
            with suppress(OSError, ValueError):
                stream.write(text)
        return len(text)

    def flush(self) -> None:
        for stream in self.streams:
            with suppress(OSError, ValueError):
                stream.flush()

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self.terminal.isatty()

    def fileno(self) -> int:
        return self.terminal.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self.terminal, "encoding", None) or "utf-8"


@dataclass(frozen=True)
class Job:
    """A running job, as its script sees it.

    input, output, wildcards: Snakemake's. slice: the part of the config that the script reads.
    provenance: stored in every output: code digest, slice, versions. terminal: the real stderr,
    behind the tee. log_stream: the open log, None without one.
    """

    input: Any
    output: Any
    wildcards: Any
    slice: dict[str, Any]
    provenance: Provenance
    terminal: TextIO
    log_stream: TextIO | None


_current: Job | None = None  # for `progress`, which library code calls


@contextmanager
def job(snakemake: Any, *packages: str) -> Iterator[Job]:
    """Run the body as the job of one rule; leave by SystemExit if it fails.

    packages: the distributions whose versions the results depend on. Their versions and Python's go
    into the provenance. Torch, if it was imported, gets as many threads as Snakemake gave the job.

    Opens the first file of `snakemake.log`, if there is one. Everything that Python code writes to
    stdout and stderr goes to this file and to the terminal's stderr, `logging` included (level INFO
    for `zscope` and the script itself, WARNING for other packages). Output of C libraries and child
    processes goes to the terminal only. The first line names rule, wildcards, threads and pid, the
    last one seconds and peak memory.

    A ZscopeError, a full disk, missing permissions or missing memory give a short message and exit
    status 1. Any other exception gives its traceback and status 1. SIGTERM unwinds as
    SystemExit(143), Ctrl-C as SystemExit(130). Temporary files that a killed writer left beside the
    declared outputs are removed, before and after.
    """
    global _current
    terminal, previous = sys.stderr, _current
    started = time.monotonic()
    outputs = [Path(output) for output in snakemake.output]
    path = _log_path(snakemake.log)
    log = None
    try:
        log = _open_log(path)
        tee = _Tee(terminal, log)
        _current = _job(snakemake, packages, terminal, log)
        with redirect_stdout(tee), redirect_stderr(tee), _logging_to(tee), _sigterm_as_exit():
            print(_first_line(snakemake))
            try:
                _set_threads(snakemake.threads)
                _clean(outputs)
                yield _current
            except BaseException as error:
                status, message = _explain(error, outputs)
                if message:
                    print(message.rstrip("\n"))
                print(
                    _last_line(started, f"failed with exit status {status}" if status else "done")
                )
                raise SystemExit(status) from None
            else:
                print(_last_line(started, "done"))
            finally:
                _clean(outputs)
    except OSError as error:
        # The log itself could not be opened.
        print(_explain(error, [path] if path else [])[1], file=terminal)
        raise SystemExit(1) from None
    finally:
        _current = previous
        if log is not None:
            with suppress(OSError):
                log.close()


def peak_rss_mib() -> float:
    """The largest resident set of this process so far, in MiB."""
    # Linux hands ru_maxrss down from the parent (Snakemake) through fork and exec; VmHWM is ours.
    with suppress(OSError, StopIteration), open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes there, KiB here


def progress(iterable: Iterable[T], *, desc: str, total: int | None = None) -> Iterator[T]:
    """Yield the items and report progress: a bar on a terminal, otherwise log lines.

    A line comes at most every 10 seconds, with count, items per second and time left; a shorter
    loop logs nothing. The log of a job always gets the lines and never the bar. `total` defaults to
    the length of `iterable` if it has one.
    """
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    current = _current
    terminal = current.terminal if current else sys.stderr
    bar = None
    if terminal.isatty():
        from tqdm import tqdm

        bar = tqdm(total=total, desc=desc, file=terminal, dynamic_ncols=True, leave=False)

    def report(line: str) -> None:
        if bar is None:
            LOG.info(line)
        elif current and current.log_stream:
            with suppress(OSError, ValueError):
                current.log_stream.write(line + "\n")

    started = reported = time.monotonic()
    count = 0
    try:
        for item in iterable:
            yield item
            count += 1
            if bar is not None:
                bar.update()
            now = time.monotonic()
            if now - reported >= SECONDS_BETWEEN_LINES:
                reported = now
                report(_progress_line(desc, count, total, now - started))
    finally:
        if bar is not None:
            bar.close()
    seconds = time.monotonic() - started
    if seconds >= SECONDS_BETWEEN_LINES:
        report(_progress_line(desc, count, count, seconds))


def _progress_line(desc: str, count: int, total: int | None, seconds: float) -> str:
    rate = count / seconds if seconds > 0 else 0.0
    line = f"{desc}: {count}" + (f"/{total}" if total is not None else "") + f" ({rate:.3g}/s"
    if total is None:
        return line + ")"
    if count >= total:
        return line + f", {_duration(seconds)})"
    return line + f", {_duration((total - count) / rate)} left)"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


# --- the parts of `job` --------------------------------------------------------------------


def _job(snakemake: Any, packages: Iterable[str], terminal: TextIO, log: TextIO | None) -> Job:
    tracked = getattr(snakemake.params, "tracked", {})
    return Job(
        input=snakemake.input,
        output=snakemake.output,
        wildcards=snakemake.wildcards,
        slice=tracked.get("slice", {}),
        provenance={**tracked, "versions": versions("python", *packages)},
        terminal=terminal,
        log_stream=log,
    )


def _set_threads(threads: int) -> None:
    """Limit torch and OpenMP to the job's cores, or two jobs would compete for all of them."""
    if torch := sys.modules.get("torch"):  # not imported here: many jobs do not need it
        torch.set_num_threads(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)


def _log_path(log: Any) -> Path | None:
    if isinstance(log, str):
        return Path(log) if log else None
    return Path(log[0]) if log else None


def _open_log(path: Path | None) -> TextIO | None:
    if path is None:
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("w", buffering=1, encoding="utf-8", errors="backslashreplace")


@contextmanager
def _logging_to(stream: Any) -> Iterator[None]:
    """Send Python's `logging` only to `stream` while the job runs."""
    root = logging.getLogger()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    levels = {root: logging.WARNING}
    levels |= {logging.getLogger(name): logging.INFO for name in ("zscope", "__main__")}
    before = {logger: logger.level for logger in levels}
    handlers, root.handlers = root.handlers, [handler]
    try:
        for logger, level in levels.items():
            logger.setLevel(level)
        yield
    finally:
        root.handlers = handlers
        for logger, level in before.items():
            logger.setLevel(level)


@contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    """Turn SIGTERM (a cluster's time limit, pre-emption) into SystemExit: `finally` blocks run."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(signum: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not stop the clean-up
        raise SystemExit(128 + signum)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _clean(outputs: list[Path]) -> None:
    for output in outputs:
        remove_leftovers(output)


def _first_line(snakemake: Any) -> str:
    wildcards = ", ".join(f"{name}={value}" for name, value in snakemake.wildcards.items())
    threads = f"{snakemake.threads} thread" + ("s" if snakemake.threads != 1 else "")
    parts = [f"rule {snakemake.rule}", wildcards, threads, f"pid {os.getpid()}"]
    return time.strftime("%Y-%m-%d %H:%M:%S ") + "; ".join(part for part in parts if part)


def _last_line(started: float, outcome: str) -> str:
    seconds = time.monotonic() - started
    return f"{outcome} after {seconds:.1f} s; peak memory {peak_rss_mib():.0f} MiB"


def _explain(error: BaseException, outputs: list[Path]) -> tuple[int, str]:
    """Exit status and message. The message of a bug is its traceback."""
    if isinstance(error, SystemExit):
        if error.code is None or isinstance(error.code, int):
            status = error.code or 0
            return status, "Terminated." if status == 128 + signal.SIGTERM else ""
        return 1, f"Error: {error.code}"
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT, "Interrupted."
    if isinstance(error, ZscopeError):
        return 1, f"Error: {error}"
    if isinstance(error, MemoryError):
        return 1, (
            f"Error: out of memory (peak so far {peak_rss_mib():.0f} MiB).\n"
            "  Give the rule more memory (`--set-resources RULE:mem_mb=...` on a cluster), run\n"
            "  fewer jobs at once (`--cores`), or lower the batch size in the config."
        )
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported here
        return 1, (
            f"Error: out of GPU memory: {_first_sentence(error)}\n"
            "  Lower the batch size in the config, or free the GPU (nvidia-smi shows its users)."
        )
    return 1, _explain_file_system(error, outputs) or "".join(traceback.format_exception(error))


def _explain_file_system(error: BaseException, outputs: list[Path]) -> str | None:
    number = error.errno if isinstance(error, OSError) else None
    path = Path(os.fsdecode(error.filename)) if getattr(error, "filename", None) else None  # type: ignore[attr-defined]
    place = path or (outputs[0] if outputs else Path("."))
    text = str(error)
    # Libraries written in Rust (safetensors) pass on the system's words but no errno.
    if number == errno.ENOSPC or "No space left on device" in text:
        return (
            f"Error: no space left on device while writing {place}\n"
            f"  Free some space (`df -h {place.parent}` shows the disk) and run the same command\n"
            "  again: finished steps are kept."
        )
    if number == errno.EDQUOT or "Disk quota exceeded" in text:
        return (
            f"Error: disk quota exceeded while writing {place}\n"
            "  Free some space (`quota -s` shows what is allowed) and run the same command again:\n"
            "  finished steps are kept."
        )
    if path is not None and number in (errno.EACCES, errno.EROFS):
        return (
            f"Error: no access to {path}: {os.strerror(number).lower()}\n"
            f"  Check the permissions (`ls -ld {path.parent} {path}`), or choose another place\n"
            "  for the outputs with `snakemake --directory`."
        )
    return None


def _first_sentence(error: BaseException) -> str:
    return str(error).split(". ")[0].splitlines()[0] if str(error) else type(error).__name__
