"""Which models, measurements and figures a config of the heads study implies.

Loaded on every parse of the Snakefile, so it imports nothing heavy. It knows no other study: what
these train is handed to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

from zscope.config.messages import Sources, mistake, near
from zscope.core.errors import ConfigError
from zscope.figures.registry import Drawing, figure_modules
from zscope.models.subjects import Source, Subject
from zscope.studies.heads.config import HeadsConfig
from zscope.studies.heads.tables import OF_CHECKPOINTS, TABLES
from zscope.tables.schema import Table
from zscope.text.prompts import read_prompts

SEQUENCES = "sequences"
"""The set of prompts of a model without running text: beginnings of its own sequences."""
HEAD_MAP = "heads"
"""The page of the map of heads, among the pages that are named after sets of prompts."""
PAGE = "results/heads/pages/{subject}/{page}.html"


@dataclass(frozen=True)
class HeadsPlan:
    """Subjects, files and figures.

    trained: subjects that other studies train, by the name that the config calls them by; those of
    a study that is not run are not among them. studies: those that train subjects. sources: as in
    `config.load`, for messages.
    """

    config: HeadsConfig
    trained: Mapping[str, Subject]
    named: Mapping[str, Subject]
    studies: Sequence[str]
    sources: Sources = field(default=(), compare=False, repr=False)

    def check(self) -> HeadsPlan:
        """Find mistakes before any job starts. Raises ConfigError."""
        if self.config.prompts.file is not None:
            read_prompts(self.config.prompts.file)
        if not self.subjects:
            raise self._wrong(
                "every subject is of a study that trains none here: name one more, or write "
                "heads: null"
            )
        return self

    @cached_property
    def subjects(self) -> dict[str, Subject]:
        """Every subject, by its name in paths."""
        found: dict[str, Subject] = {}
        for name in self.config.subjects:
            study, _, of_study = name.partition("/")
            if of_study and study in STUDIES and study not in self.studies:
                continue
            known = {**self.named, **self.trained}
            if name not in known:
                raise self._wrong(f"no subject {name}; {near(name, known, 'there are')}")
            subject = known[name]
            if subject.path in found:
                raise self._wrong(f"{name} and {found[subject.path].name} have one name in paths")
            found[subject.path] = subject
        return found

    @cached_property
    def checkpointed(self) -> dict[str, Subject]:
        """The subjects whose models have checkpoints, by name in paths."""
        return {path: s for path, s in self.subjects.items() if s.source in WITH_CHECKPOINTS}

    def _wrong(self, message: str) -> ConfigError:
        return ConfigError(mistake(message, ("heads", "subjects"), sources=self.sources))

    @property
    def detectors(self) -> tuple[str, ...]:
        """The modules of the detectors that are asked."""
        return self.config.detectors.asked

    def prompt_sets(self, subject: str) -> tuple[str, ...]:
        """The sets of prompts of a subject, which is given by its name in paths."""
        named = self.subjects[subject].source == "named"
        return tuple(self.config.prompts.sets) if named else (SEQUENCES,)

    @cached_property
    def pages(self) -> list[str]:
        """The page of every set of prompts, and the map of heads, of every subject."""
        return [
            PAGE.format(subject=subject, page=page)
            for subject in self.subjects
            for page in (*self.prompt_sets(subject), HEAD_MAP)
        ]

    def files(self, table: Table, subjects: Iterable[str] | None = None) -> list[str]:
        """The files of a table that the config implies; of these subjects (None: all)."""
        of = list(self.subjects if subjects is None else subjects)
        if table in OF_CHECKPOINTS:
            of = [path for path in of if path in self.checkpointed]
        if "{prompts}" in table.path:
            return [p for s in of for p in table.paths(subject=s, prompts=self.prompt_sets(s))]
        return table.paths(subject=of) if "{subject}" in table.path else [table.path]

    @cached_property
    def drawings(self) -> dict[str, Drawing]:
        """Every figure: those of all subjects, and below its name those of each subject."""
        out = {}
        for name, module in figure_modules("heads").items():
            if not module.constants.get("OF_A_SUBJECT"):
                out[name] = Drawing.of(module, TABLES, self.files)
                continue
            sources = module.constants.get("SOURCES")  # of the subjects that it is drawn for
            for path, subject in self.subjects.items():
                if sources is not None and subject.source not in sources:
                    continue
                files = partial(self.files, subjects=[path])
                declared = {"subject": subject.name}
                out[f"{path}/{name}"] = Drawing.of(module, TABLES, files, declared, subject.name)
        return out


WITH_CHECKPOINTS: tuple[Source, ...] = ("toylang", "lag")
"""Sources whose files hold a model at several steps; their modules have a `series`."""
STUDIES = ("lag", "toylang", "crosslingual")
"""Studies that train models whose heads can be asked."""
