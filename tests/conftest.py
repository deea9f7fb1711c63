"""What all tests share."""

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
# The first example of a test pays for imports, so the clock of a single one says nothing.
settings.register_profile("zscope", deadline=None)
settings.load_profile("zscope")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Nobody should believe that the workflow was tried on a Slurm when it was not."""
    skipped = terminalreporter.stats.get("skipped", [])
    on_slurm = [report for report in skipped if "tests/slurm/" in report.nodeid]
    if on_slurm:
        reason = on_slurm[0].longrepr[2].removeprefix("Skipped: ")
        line = f"NOT TRIED ON A REAL SLURM: {len(on_slurm)} tests skipped: {reason}"
        terminalreporter.write_line(line, red=True, bold=True)
