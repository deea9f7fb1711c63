"""What defines a run of the lag study.

Apart from the rest of the study's config, so that a new probe or onset retrains nothing.
"""

from __future__ import annotations

import itertools
import math
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from zscope.config.base import (
    AdamWSection,
    Characters,
    Flag,
    Rows,
    Section,
    Seed,
    Steps,
    WrongKeyError,
)
from zscope.config.schedules import spaced_evaluations
from zscope.core.provenance import digest_of

Task = Literal["bz_to_a", "az_to_b", "b_to_a", "a_to_b"]
TASKS_WITH_Z = ("bz_to_a", "az_to_b")
AMBIGUOUS_TASKS = ("bz_to_a", "b_to_a")


class DataConfig(Section):
    """The map (B, z) -> A as character strings (protocol 000, `data.*`)."""

    task: Task = "bz_to_a"
    """Source and target: bz_to_a (z disambiguates), az_to_b (z is redundant), b_to_a (no z: the
    lowest loss of the first target token is log K), a_to_b (no z, deterministic)."""
    k: int = Field(10, ge=1)
    """Number of targets A of every B."""
    design: Literal["fixed_bases", "fixed_facts"] = "fixed_bases"
    """Held constant when k varies: the number of bases (the original protocol's design, in
    which facts grow with k), or the number of facts (bases = n_facts / k)."""
    n_unique_b: int = Field(1000, ge=1)
    """Number of distinct B (bases) under fixed_bases."""
    n_facts: int | None = Field(None, ge=1)
    """Number of (B, A) pairs under fixed_facts; a multiple of k. Not used under fixed_bases."""
    b_unit: Literal["characters", "token"] = "characters"
    """A B is written as a string over the alphabet, or as one token of its own."""
    b_length: Characters = Field(6, ge=1, le=64)
    """Characters of a B (1 if b_unit is token)."""
    a_length: Characters = Field(4, ge=1, le=64)
    """Characters of an A."""
    z_length: Characters = Field(2, ge=1, le=64)
    """Characters of a z."""
    alphabet: str = Field("abcdefghijklmnopqrstuvwxyz0123456789", min_length=2)
    """Characters that B and A are made of, without repetition."""
    z_alphabet: str | None = Field(None, min_length=2)
    """Characters that z is made of; null: the alphabet. A parity code always uses 0 and 1."""
    z_code: Literal["random", "parity"] = "random"
    """Names of the targets: k random distinct strings; or every binary string of z_length, where
    each of the log2 k bits of the target's index is the parity of its own z_order characters."""
    z_order: int = Field(1, ge=1)
    """Order of the parity: the number of characters of z behind each bit of the target's index. Not
    used by the random code."""
    unique_first_char: Flag = True
    """The k targets of one B start with k different characters, so that the first target token
    decides between them (the original protocol's enforce_unique_a_first_char_per_b)."""
    probe_fraction: float = Field(0.0, ge=0, lt=1)
    """Share of the rows held out of training."""
    split_by_base: Flag = True
    """Hold out whole bases (true) or single rows (false)."""

    @property
    def has_z(self) -> bool:
        return self.task in TASKS_WITH_Z

    @property
    def n_candidates(self) -> int:
        """Targets that are consistent with the source if z is not read."""
        return self.k if self.task in AMBIGUOUS_TASKS else 1

    @property
    def n_bases(self) -> int:
        if self.design == "fixed_facts":
            return (self.n_facts or 0) // self.k
        return self.n_unique_b

    @property
    def n_z(self) -> int:
        """Number of distinct z strings."""
        if not self.has_z:
            return 0
        return 2**self.z_length if self.z_code == "parity" else self.k

    @property
    def z_characters(self) -> str:
        return "01" if self.z_code == "parity" else (self.z_alphabet or self.alphabet)

    @property
    def n_rows(self) -> int:
        """Number of sequences: bases times z strings (with z), or facts (without)."""
        return self.n_bases * (self.n_z if self.has_z else self.k)

    @property
    def log_k(self) -> float:
        """Lowest loss of the first target token without reading z, in nats."""
        return math.log(self.n_candidates)

    @property
    def n_first_tokens(self) -> int:
        """Number of tokens that can stand first in a target."""
        if self.task in AMBIGUOUS_TASKS or self.b_unit == "characters":
            return len(self.alphabet)
        return self.n_bases

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for key in ("alphabet", "z_alphabet"):
            text = getattr(self, key)
            if text is not None and len(set(text)) != len(text):
                raise WrongKeyError(key, f"repeats a character: {text!r}")
            if text is not None and any(c.isspace() for c in text):
                raise WrongKeyError(key, f"holds white space: {text!r}")
        if self.b_unit == "token" and self.b_length != 1:
            raise WrongKeyError("b_length", f"must be 1 with b_unit: token, not {self.b_length}")
        if self.design == "fixed_facts":
            if self.n_facts is None:
                raise WrongKeyError("n_facts", "is needed by design: fixed_facts", "design")
            if self.n_facts % self.k:
                raise WrongKeyError(
                    "n_facts", f"{self.n_facts} is not a multiple of k {self.k}", "k"
                )
        size = len(self.alphabet)
        if self.unique_first_char and self.k > size:
            raise WrongKeyError(
                "k",
                f"{self.k} targets with different first characters need an alphabet of at least "
                f"{self.k} characters; it has {size} (lower k, or unique_first_char: false)",
                "alphabet",
                "unique_first_char",
            )
        bases = "n_facts" if self.design == "fixed_facts" else "n_unique_b"
        if self.b_unit == "characters":
            _enough("b_length", self.n_bases, "B", size, self.b_length, bases, "alphabet")
        # Targets are drawn without repetition, and a first character may serve one target per base:
        # a nearly exhausted set could leave a base without a choice, so half of all must suffice.
        targets, what = self.n_bases * self.k, "A"
        if self.unique_first_char:
            targets, what = 2 * targets, "A (twice as many as are used, to choose from)"
        _enough("a_length", targets, what, size, self.a_length, bases, "k", "alphabet")
        if self.has_z and self.z_code == "random":
            letters = len(self.z_characters)
            _enough("z_length", self.k, "z", letters, self.z_length, "k", "z_alphabet", "alphabet")
        if self.has_z and self.z_code == "parity":
            bits = self.k.bit_length() - 1
            if self.k < 2 or 2**bits != self.k:
                raise WrongKeyError(
                    "k", f"z_code parity needs a power of 2, from 2 on, not {self.k}", "z_code"
                )
            if bits * self.z_order > self.z_length:
                raise WrongKeyError(
                    "z_order",
                    f"z_code parity needs log2(k) * z_order = {bits} * {self.z_order} = "
                    f"{bits * self.z_order} characters of z; z_length is {self.z_length}",
                    "z_length",
                    "k",
                    "z_code",
                )
            if self.z_length > 16:
                raise WrongKeyError(
                    "z_length",
                    f"z_code parity lists all 2**z_length strings: at most 16, not {self.z_length}",
                )
        if self.probe_fraction > 0:
            units = self.n_bases if self.split_by_base else self.n_rows
            held = round(self.probe_fraction * units)
            if not 0 < held < units:
                raise WrongKeyError(
                    "probe_fraction",
                    f"{self.probe_fraction} of {units} "
                    f"{'bases' if self.split_by_base else 'rows'} holds out {held}: "
                    f"{'nothing to train on' if held else 'nothing to hold out'}",
                    bases,
                )
        return self


def _enough(key: str, wanted: int, what: str, size: int, length: int, *also: str) -> None:
    if wanted > size**length:
        raise WrongKeyError(
            key,
            f"{wanted} distinct {what} are wanted, but only {size}**{length} = {size**length} "
            f"strings of {length} over {size} characters exist",
            *also,
        )


class ModelConfig(Section):
    """The transformer: pre-LN decoder, GELU, learned positions, untied unembedding."""

    n_layers: int = Field(4, ge=1, le=64)
    """Number of blocks."""
    d_model: int = Field(128, ge=1)
    """Width of the residual stream; a multiple of n_heads."""
    n_heads: int = Field(4, ge=1)
    """Attention heads of a block."""
    d_mlp: int = Field(512, ge=1)
    """Hidden units of the MLP of a block."""
    init_std: float = Field(0.02, gt=0)
    """Standard deviation of the initial weights (embeddings and attention)."""
    mlp_init_std: float | None = Field(None, gt=0)
    """The same for the matrices of the MLP; null: init_std."""

    @model_validator(mode="after")
    def _heads(self) -> Self:
        if self.d_model % self.n_heads:
            raise WrongKeyError(
                "d_model", f"{self.d_model} is not divisible by n_heads {self.n_heads}", "n_heads"
            )
        return self


class TrainingConfig(AdamWSection):
    """AdamW with clipped gradients on the cross-entropy of the target tokens."""

    steps: Steps = Field(20000, ge=1)
    warmup_steps: Steps = Field(500, ge=0)
    batch_size: Rows = Field(128, ge=1)
    """Rows of a batch; batches cover shuffled epochs."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """After warm-up: a cosine down to final_lr_fraction at the last step, or constant."""
    eval_every: Steps = Field(100, ge=1)
    """Steps between evaluations, save for early ones; step 0 and the last are always evaluated."""
    evals_per_doubling: int = Field(8, ge=0, le=50)
    """Evaluations between a step and its double, while they are less than eval_every apart: 8 tell
    an onset to 9 %. With 0 there are none but every eval_every steps."""
    stop_below: float | None = Field(None, gt=0)
    """Stop once the first target token's loss on the evaluation set (training rows, in nats) is
    below this at stop_evaluations evaluations in a row; null: train all steps. The schedule is that
    of all steps, so that stopping changes nothing before."""
    stop_evaluations: int = Field(4, ge=1)
    """Evaluations in a row that stop_below asks for."""
    eval_examples: Rows = Field(1000, ge=2)
    """Rows of the fixed evaluation set (all rows, if there are fewer)."""
    checkpoint_every: Steps = Field(200, ge=1)
    """Steps between checkpoints; step 0 and the last are always kept."""
    early_checkpoints: Flag = True
    """Also keep steps 1, 2, 4, 8, ... before the first multiple of checkpoint_every."""

    @property
    def eval_steps(self) -> tuple[int, ...]:
        """0, log-spaced steps at first, multiples of eval_every, and the last."""
        return spaced_evaluations(self.steps, self.eval_every, self.evals_per_doubling)

    @property
    def checkpoint_steps(self) -> tuple[int, ...]:
        """0, powers of 2 before the first multiple of checkpoint_every, its multiples, the last."""
        early = itertools.takewhile(
            lambda s: s < min(self.checkpoint_every, self.steps), (2**i for i in itertools.count())
        )
        regular = range(self.checkpoint_every, self.steps, self.checkpoint_every)
        return tuple(sorted({0, *(early if self.early_checkpoints else ()), *regular, self.steps}))


class RunConfig(Section):
    """One training run."""

    data: DataConfig = DataConfig()
    """The facts and how they are written."""
    model: ModelConfig = ModelConfig()
    """The transformer."""
    training: TrainingConfig = TrainingConfig()
    """Optimizer, schedule, evaluations and checkpoints."""
    seed: Seed = 0
    """Random seed of the run; those of data, weights and order of batches derive from it."""
    data_seed: Seed | None = None
    """Random seed of the facts; null: from seed. Set it to vary the rest on the same facts."""
    init_seed: Seed | None = None
    """Random seed of the initial weights; null: from seed."""
    order_seed: Seed | None = None
    """Random seed of the order of batches; null: from seed."""

    @cached_property
    def resolved(self) -> dict[str, Any]:
        """Every value that the run's outputs depend on, as plain values.

        The design is resolved to its number of bases, and keys that the run does not use are left
        out, so that two sweeps that ask for the same run share it.
        """
        plain = self.model_dump()
        data = plain["data"]
        data["n_unique_b"] = self.data.n_bases
        for key in ("design", "n_facts"):
            del data[key]
        if not self.data.has_z:
            for key in ("z_code", "z_order", "z_length", "z_alphabet"):
                del data[key]
        elif self.data.z_code == "random":
            del data["z_order"]
            data["z_alphabet"] = self.data.z_characters
        else:
            del data["z_alphabet"]
        if self.model.mlp_init_std is None:
            plain["model"]["mlp_init_std"] = self.model.init_std
        return plain

    @property
    def facts(self) -> dict[str, Any]:
        """Every value that the run's facts depend on: runs for which it is equal share them."""
        seed = self.seed if self.data_seed is None else self.data_seed
        return {"data": self.resolved["data"], "seed": seed}

    def facts_id(self) -> str:
        """Readable, stable name of the run's facts."""
        plain = {"data": self.resolved["data"]}
        return f"{_id(self._data_parts, plain)}-s{self.facts['seed']}"

    def condition_id(self) -> str:
        """Readable, stable name of the run without its random seed."""
        m, t = self.model, self.training
        parts = [f"L{m.n_layers}d{m.d_model}", f"lr{t.lr:g}", f"bs{t.batch_size}"]
        plain = {k: v for k, v in self.resolved.items() if k != "seed"}
        return _id([*self._data_parts, *parts], plain)

    def run_id(self) -> str:
        return f"{self.condition_id()}-s{self.seed}"

    @property
    def _data_parts(self) -> list[str]:
        d = self.data
        code = f"parity{d.z_order}" if d.z_code == "parity" else f"z{d.z_length}"
        return [d.task, f"k{d.k}", f"n{d.n_bases}", *([code] if d.has_z else [])]


def _id(parts: list[str], plain: dict[str, Any]) -> str:
    return "-".join([*parts, digest_of(_without_defaults(plain, _RUN_DEFAULTS), length=6)])


def _without_defaults(plain: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Drop what equals the library's default, so that a new key does not rename old runs."""
    out: dict[str, Any] = {}
    for key, value in plain.items():
        if isinstance(value, dict):
            out[key] = _without_defaults(value, defaults.get(key, {}))
        elif key not in defaults or defaults[key] != value:
            out[key] = value
    return out


_RUN_DEFAULTS = RunConfig().model_dump()
