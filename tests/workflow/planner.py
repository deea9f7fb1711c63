"""A process that has imported Snakemake, and forks for every dry run that it is asked for.

That import is a third of a dry run's time, and the tests make a hundred of them. A fork starts from
what `python -m snakemake` has after its imports: no Snakefile was read, nothing of zscope imported.

Reads a line of JSON per call, {"words", "folder", "environment", "output", "seconds"}, and answers
with the exit status.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

import snakemake
from snakemake.cli import main


def call(
    words: list[str], folder: str, environment: dict[str, str], output: str, seconds: int
) -> NoReturn:
    """Be `python -m snakemake` in `folder`, with both streams in the file `output`."""
    signal.alarm(seconds)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    streams = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream, number in ((os.open(os.devnull, os.O_RDONLY), 0), (streams, 1), (streams, 2)):
        os.dup2(stream, number)
    sys.argv = [str(Path(snakemake.__file__).with_name("__main__.py")), *words]
    sys.path[0] = folder
    status = 1
    try:
        main()
    except SystemExit as ended:
        status = int(ended.code)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def serve() -> None:
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        child = os.fork()
        if child == 0:
            call(**asked)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()
