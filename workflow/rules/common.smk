import os
import shlex
import sys

from snakemake.common.configfile import load_configfile
from snakemake_interface_executor_plugins.settings import SharedFSUsage

# This clone's library is the one that the digests are of, so it is the one that runs, in the jobs
# too, whatever else is installed.
sys.path.insert(0, str(ROOT / "lib"))
os.environ.update(
    PYTHONPATH=os.pathsep.join(filter(None, [str(ROOT / "lib"), os.environ.get("PYTHONPATH")]))
)

from zscope.core.errors import OPTIONS, ConfigError, find
from zscope.core.provenance import Tracker
from zscope.figures.registry import read_captions
from zscope.studies.config import load
from zscope.studies.registry import TITLES

# What made an output is recorded by the Snakemake that submitted its job. When that one is killed,
# the job goes on; it must not strike the output off the list of incomplete ones, for without a record
# no edit would ever make it stale. So it keeps a list of its own.
if workflow.remote_exec:
    workflow.storage_settings.shared_fs_usage -= {SharedFSUsage.PERSISTENCE}

TRACKER = Tracker(scripts=ROOT / "workflow" / "scripts", lib=ROOT / "lib")


def tracked(script, *, uses=(), **slice):
    """Params of a rule: the config that its script reads, and a digest of its code.

    Called in functions of wildcards, so that what is not asked for is not digested: every job on a
    cluster reads these files twice.
    """
    return TRACKER(script, uses=uses, **slice)


def config_sources():
    """The configuration files, later ones winning, with what each says."""
    files = [ROOT / "config" / "config.yaml", *workflow.overwrite_configfiles]
    given = [("--config", workflow.config_settings.config)]
    return [(os.path.relpath(f), load_configfile(f)) for f in files] + given


def options_given():
    """The options with which a later call finds the outputs of this one."""
    moved = workflow.overwrite_workdir is not None
    found = Path("workflow/Snakefile").resolve() == Path(workflow.main_snakefile).resolve()
    given = {
        "--snakefile": [workflow.main_snakefile] if moved or not found else [],
        "--directory": [os.getcwd()] if moved else [],
        "--configfile": workflow.overwrite_configfiles,
        "--config": workflow.config_settings.config_args,
    }
    words = [[name, *map(str, values)] for name, values in given.items() if values]
    return shlex.join(word for option in words for word in option)


def checked(function, *arguments):
    """Call `function`; a mistake of the user's ends Snakemake with its message alone."""
    try:
        return function(*arguments)
    except ConfigError as error:
        # Not a WorkflowError: Snakemake would add the lines of this file that raised it.
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(1) from None


def check_writable(*folders):
    """Raise ConfigError for the first folder that exists and cannot be written."""
    for name in folders:
        if os.path.isdir(name) and not os.access(name, os.W_OK | os.X_OK):
            raise ConfigError(
                f"no access to {os.path.abspath(name)}: nothing can be written there\n"
                f"  Check the permissions (`ls -ld {name}`) and the disk (`mount`), or choose another\n"
                "  place for the outputs with `snakemake --directory`."
            )


# For the messages of jobs, whose own Snakemake on a cluster was called by no user.
if workflow.is_main_process:
    os.environ[OPTIONS] = options_given()

# Snakemake writes here even in a dry run.
checked(check_writable, ".")


# It also removes outputs before it makes them again. Where it may not, say so before the first job.
onstart:
    checked(check_writable, "results", "logs")


SOURCES = config_sources()
CONFIG = checked(load, config, SOURCES)
BOOTSTRAP = CONFIG.bootstrap.model_dump()
# A GPU is asked for only when the config says cuda: `auto` takes one if it happens to be there.
GPUS = 1 if CONFIG.device == "cuda" else 0


# By study, filled by its rules: the plan, and the targets beside the plan's figures.
PLANS = {}
TARGETS = {}


def targets(study):
    """Every figure and table of a study."""
    figures = expand(
        "results/figures/{study}/{figure}.{kind}",
        study=study,
        figure=PLANS[study].drawings,
        kind=("svg", "png"),
    )
    return [*figures, *TARGETS[study]]


def growing(base):
    """A resource that grows with every attempt of a job."""
    return lambda wildcards, attempt: base * attempt


def caption(study, name, **values):
    """A text of workflow/report/{study}.rst, for the param `caption`, which report/caption.rst shows."""
    return read_captions(ROOT / "workflow" / "report" / f"{study}.rst")[name].format(**values)
