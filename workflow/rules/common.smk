import os
import shlex
import sys
from copy import deepcopy

from snakemake.cli import get_argument_parser
from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config
from snakemake_interface_executor_plugins.settings import SharedFSUsage

# This clone's library is the one that the digests are of, so it is the one that runs, in the jobs
# too, whatever else is installed.
sys.path.insert(0, str(ROOT / "lib"))
os.environ.update(
    PYTHONPATH=os.pathsep.join(filter(None, [str(ROOT / "lib"), os.environ.get("PYTHONPATH")]))
)

# Snakemake puts the path of Python into its commands as it is. One that the shell would split, or
# expand, is found by its name instead.
if shlex.quote(sys.executable) != sys.executable:
    of_python, sys.executable = os.path.split(sys.executable)
    os.environ.update(PATH=os.pathsep.join([of_python, os.environ.get("PATH", os.defpath)]))

from zscope.config.command_line import check_once, config_values, target_in
from zscope.config.yaml_files import check_config_file
from zscope.core.errors import OPTIONS, ConfigError, find, record_call
from zscope.core.provenance import Tracker
from zscope.figures.registry import read_captions
from zscope.studies.config import load
from zscope.studies.registry import TITLES

# What made an output is recorded by the Snakemake that submitted its job. When that one is killed,
# the job goes on; it must not strike the output off the list of incomplete ones, for without a record
# no edit would ever make it stale. So it keeps a list of its own.
if workflow.remote_exec:
    workflow.storage_settings.shared_fs_usage -= {SharedFSUsage.PERSISTENCE}

# Another workflow may import this one, with a config of its own over the default one.
IMPORTED = not workflow.modifier.is_main_snakefile()
CONFIG_FILE = ROOT / "config" / "config.yaml"
TRACKER = Tracker(scripts=ROOT / "workflow" / "scripts", lib=ROOT / "lib")


def tracked(script, *, uses=(), **slice):
    """Params of a rule: the config that its script reads, and a digest of its code.

    Called in functions of wildcards, so that what is not asked for is not digested: every job on a
    cluster reads these files twice.
    """
    return TRACKER(script, uses=uses, **slice)


def config_sources():
    """The configuration files and --config, later ones winning, with what each says."""
    if IMPORTED:
        return [(str(CONFIG_FILE), load_configfile(CONFIG_FILE)), ("the module's config", config)]
    files = [] if workflow.config_settings.replace_workflow_config else [CONFIG_FILE]
    sources = []
    for file in [*files, *workflow.overwrite_configfiles]:
        name = os.path.relpath(file)
        check_config_file(Path(file), name)
        sources.append((name, load_configfile(file)))
    given = config_values(workflow.config_settings.config_args or [])
    return [*sources, *(("--config", values) for values in given)]


def merged(sources):
    """What all sources say together, merged as Snakemake merges them, block by block."""
    together = {}
    for _, content in sources:
        update_config(together, deepcopy(content))
    return together


def options_given():
    """The options with which a later call finds the outputs of this one."""
    moved = workflow.overwrite_workdir is not None
    found = Path("workflow/Snakefile").resolve() == Path(workflow.main_snakefile).resolve()
    snakefile = ["--snakefile", workflow.main_snakefile] if moved or not found else []
    folder = ["--directory", os.getcwd()] if moved else []
    return shlex.join([*snakefile, *folder, *config_given()])


def config_given():
    """The words of the call that say which configuration to use."""
    given = {
        "--configfile": workflow.overwrite_configfiles,
        "--config": workflow.config_settings.config_args,
    }
    return [word for name, v in given.items() if v for word in (name, *map(str, v))]


def check_call():
    """Raise ConfigError for what Snakemake would drop without a word, or not find."""
    arguments, here = sys.argv[1:], os.getcwd()
    check_once(arguments)
    typed_in = os.environ.get("PWD", here)
    # Only a few calls pay for parsing the options once more.
    if any(target_in(here, word, typed_in) for word in arguments):
        for target in get_argument_parser().parse_args(arguments).targets:
            if name := target_in(here, target, typed_in):
                raise ConfigError(
                    f"no target {target}: targets are named from the folder of the run, {here}\n"
                    f"  Ask for {shlex.quote(name)}"
                )


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
if workflow.is_main_process and not IMPORTED:
    checked(check_call)
    os.environ[OPTIONS] = options_given()

# Snakemake writes here even in a dry run.
checked(check_writable, ".")


# It also removes outputs before it makes them again. Where it may not, say so before the first job.
onstart:
    checked(check_writable, "results", "logs")
    record_call(workflow.main_snakefile, config_given())


SOURCES = checked(config_sources)
CONFIG = checked(load, merged(SOURCES), SOURCES)
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
