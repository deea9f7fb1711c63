"""The disambiguation maps (B, z) -> A of the lag study, and their sequences (protocol 000, `data`).

Every source B has K targets A, and z says which one. All B's share the same z strings. The
sequences of a run have one length:

    bz_to_a  BOS B SEP z SEP A EOS        az_to_b  BOS A SEP z SEP B EOS
    b_to_a   BOS B SEP A EOS              a_to_b   BOS A SEP B EOS
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from zscope.core.errors import DataError
from zscope.studies.lag.run_config import DataConfig

PAD, BOS, EOS, SEP = "<pad>", "<bos>", "<eos>", "<sep>"
SPECIAL = (PAD, BOS, EOS, SEP)


@dataclass(frozen=True)
class Vocabulary:
    """Tokens and their ids: the specials, the characters, then the bases that are one token."""

    tokens: tuple[str, ...]

    @cached_property
    def ids(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.tokens)}

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Ids of tokens, or of the characters of a string. Raises DataError for an unknown one."""
        try:
            return [self.ids[token] for token in tokens]
        except KeyError as error:
            raise DataError(f"the vocabulary has no token {error}") from None


@dataclass(frozen=True)
class Layout:
    """The positions of source, z and target in a sequence. `target` includes EOS."""

    source: slice
    z: slice | None
    target: slice
    length: int

    @property
    def predict(self) -> int:
        """The position before the first target token, whose output predicts that token."""
        return self.target.start - 1


@dataclass(frozen=True, eq=False)
class Disambiguation:
    """The sequences of a run, and the targets to score them by. Ids and indices are int64."""

    vocabulary: Vocabulary
    layout: Layout
    tokens: Int[np.ndarray, "rows seq"]
    base: Int[np.ndarray, " rows"]
    candidate: Int[np.ndarray, " rows"]
    z_index: Int[np.ndarray, " rows"]
    candidates: Int[np.ndarray, "bases candidates target"]
    z_tokens: Int[np.ndarray, "zs z"]
    z_candidate: Int[np.ndarray, " zs"]
    train: Bool[np.ndarray, " rows"]
    k: int

    @property
    def has_z(self) -> bool:
        return self.layout.z is not None

    @property
    def can_swap_z(self) -> bool:
        """Whether a z exists that names another of the same B's targets."""
        return self.has_z and self.k > 1

    @property
    def right(self) -> Int[np.ndarray, " rows"]:
        """Index of the right target among `candidates[base]`."""
        return self.candidate if self.candidates.shape[1] > 1 else np.zeros_like(self.candidate)

    def rows(self, split: str) -> Int[np.ndarray, " rows"]:
        """Row indices of a split ("train" or "held_out")."""
        return np.flatnonzero(self.train if split == "train" else ~self.train)


def make_vocabulary(config: DataConfig) -> Vocabulary:
    characters = dict.fromkeys(config.alphabet + (config.z_characters if config.has_z else ""))
    bases = (_base_token(i) for i in range(config.n_bases)) if config.b_unit == "token" else ()
    return Vocabulary((*SPECIAL, *characters, *bases))


def _base_token(index: int) -> str:
    return f"<b{index}>"


def make_layout(config: DataConfig) -> Layout:
    b, a = config.b_length, config.a_length
    source, target = (a, b) if config.task in ("az_to_b", "a_to_b") else (b, a)
    at = 1 + source + 1
    z = slice(at, at + config.z_length) if config.has_z else None
    start = z.stop + 1 if z else at
    return Layout(slice(1, 1 + source), z, slice(start, start + target + 1), start + target + 1)


def make_facts(config: DataConfig, seed: int) -> pd.DataFrame:
    """Draw facts: the rows of table lag_facts.

    B, A and z come from random streams of their own, so that the same seed gives the same B and A
    for every code of z. All B's are distinct, and so are all A's.
    """
    names = ("b", "a", "z", "split")
    seeds = np.random.SeedSequence(seed).spawn(len(names))
    streams = {name: np.random.default_rng(s) for name, s in zip(names, seeds, strict=True)}
    n, k = config.n_bases, config.k
    if config.b_unit == "token":
        bs = [_base_token(i) for i in range(n)]
    else:
        bs = _distinct_strings(n, config.alphabet, config.b_length, streams["b"])
    targets = _targets(config, streams["a"])
    zs, z_candidate = _z_code(config, streams["z"])
    codes = list(zip(range(len(zs)), zs, z_candidate, strict=True)) or [
        (-1, "", candidate) for candidate in range(k)
    ]
    frame = pd.DataFrame(
        [
            (base, candidate, index, bs[base], z, targets[base][candidate])
            for base in range(n)
            for index, z, candidate in codes
        ],
        columns=["base", "candidate", "z_index", "b", "z", "a"],
    )
    unit = frame["base"].to_numpy() if config.split_by_base else np.arange(len(frame))
    units = np.unique(unit)
    held = streams["split"].permutation(units)[: round(config.probe_fraction * len(units))]
    frame["split"] = np.where(np.isin(unit, held), "held_out", "train")
    return frame


def _distinct_strings(n: int, alphabet: str, length: int, rng: np.random.Generator) -> list[str]:
    """`n` distinct strings, uniform over all sets of them."""
    size = len(alphabet)
    chosen: dict[str, None] = {}
    while len(chosen) < n:
        if size**length <= 4 * n:  # all of them, shuffled
            places = np.stack(np.unravel_index(rng.permutation(size**length), (size,) * length), 1)
        else:  # rejection: at most a quarter of the draws repeats
            places = rng.integers(size, size=(n, length))
        chosen |= dict.fromkeys("".join(alphabet[i] for i in string) for string in places)
    return list(chosen)[:n]


def _targets(config: DataConfig, rng: np.random.Generator) -> list[list[str]]:
    """The k targets of every base, all distinct; and as `unique_first_char` asks."""
    n, k, alphabet = config.n_bases, config.k, config.alphabet
    if not config.unique_first_char:
        flat = _distinct_strings(n * k, alphabet, config.a_length, rng)
        return [flat[i * k : (i + 1) * k] for i in range(n)]
    tail = len(alphabet) ** (config.a_length - 1)
    used: dict[str, set[str]] = {c: set() for c in alphabet}
    out = []
    for _ in range(n):
        free = [c for c in alphabet if len(used[c]) < tail]
        if len(free) < k:
            raise DataError(
                f"no {k} different first characters are left for another base: raise a_length "
                f"({config.a_length}) or lower n_unique_b ({n})"
            )
        # When strings run short, the characters with most strings left go first, so that every base
        # finds its k characters.
        if tail < 2 * n:
            free = sorted(rng.permutation(free).tolist(), key=lambda c: len(used[c]))[:k]
        row = []
        for c in rng.permutation(free)[:k].tolist():
            while (text := c + _random_string(alphabet, config.a_length - 1, rng)) in used[c]:
                pass
            used[c].add(text)
            row.append(text)
        out.append(row)
    return out


def _random_string(alphabet: str, length: int, rng: np.random.Generator) -> str:
    return "".join(alphabet[i] for i in rng.integers(len(alphabet), size=length))


def _z_code(config: DataConfig, rng: np.random.Generator) -> tuple[list[str], list[int]]:
    """The z strings, and the index of the target that each of them names."""
    if not config.has_z:
        return [], []
    if config.z_code == "random":
        zs = _distinct_strings(config.k, config.z_characters, config.z_length, rng)
        return zs, list(range(config.k))
    length, order = config.z_length, config.z_order
    zs = [f"{i:0{length}b}" for i in range(2**length)]
    bits = config.k.bit_length() - 1
    return zs, [
        sum((z[bit * order : (bit + 1) * order].count("1") % 2) << bit for bit in range(bits))
        for z in zs
    ]


def encode(facts: pd.DataFrame, config: DataConfig) -> Disambiguation:
    """The sequences of a table lag_facts. Raises DataError if the table is not of this config."""
    vocabulary, layout = make_vocabulary(config), make_layout(config)
    ids = vocabulary.ids
    swapped = config.task in ("az_to_b", "a_to_b")
    source, target = ("a", "b") if swapped else ("b", "a")
    if len(facts) != config.n_rows:
        raise DataError(f"the facts have {len(facts)} rows; this config has {config.n_rows}")

    def column(name: str) -> Int[np.ndarray, "rows length"]:
        # Only a B can be one token: an A that is spelled "<b0>" by chance has four characters.
        whole = name == "b" and config.b_unit == "token"
        unique = {t: vocabulary.encode([t] if whole else t) for t in facts[name].unique()}
        lengths = {len(tokens) for tokens in unique.values()}
        if len(lengths) > 1:
            raise DataError(f"column {name} of the facts has strings of lengths {sorted(lengths)}")
        return np.array([unique[text] for text in facts[name]], dtype=np.int64)

    def constant(token: str) -> Int[np.ndarray, "rows 1"]:
        return np.full((len(facts), 1), ids[token], dtype=np.int64)

    parts = [constant(BOS), column(source), constant(SEP)]
    if config.has_z:
        parts += [column("z"), constant(SEP)]
    tokens = np.concatenate([*parts, column(target), constant(EOS)], axis=1)
    if tokens.shape[1] != layout.length:
        raise DataError(f"sequences of {tokens.shape[1]} tokens; this config has {layout.length}")

    base = facts["base"].to_numpy(np.int64)
    candidate = facts["candidate"].to_numpy(np.int64)
    z_index = facts["z_index"].to_numpy(np.int64)
    n_candidates = config.n_candidates
    target_length = layout.target.stop - layout.target.start
    candidates = np.zeros((config.n_bases, n_candidates, target_length), np.int64)
    candidates[base, candidate if n_candidates > 1 else 0] = tokens[:, layout.target]
    z_tokens = np.zeros((config.n_z, config.z_length if config.has_z else 0), np.int64)
    z_candidate = np.zeros(config.n_z, np.int64)
    if layout.z is not None:
        z_tokens[z_index] = tokens[:, layout.z]
        z_candidate[z_index] = candidate
    return Disambiguation(
        vocabulary,
        layout,
        tokens,
        base,
        candidate,
        z_index,
        candidates,
        z_tokens,
        z_candidate,
        (facts["split"] == "train").to_numpy(),
        config.k,
    )


def sample_rows(
    data: Disambiguation, n: int, rng: np.random.Generator, split: str = "train"
) -> Int[np.ndarray, " n"]:
    """At most `n` distinct rows of a split, in order; all of them if it has no more."""
    rows = data.rows(split)
    return np.sort(rng.choice(rows, size=n, replace=False)) if n < len(rows) else rows


def other_z(
    data: Disambiguation, rows: Int[np.ndarray, " n"], rng: np.random.Generator
) -> tuple[Int[np.ndarray, "n seq"], Int[np.ndarray, " n"]]:
    """The sequences of `rows` with a z that names another target of the same base.

    Shuffling row indices instead would leave about 1/K of the rows with a z of the same meaning.
    Returns the sequences (their target unchanged) and the index of the target
    that the new z names. Raises DataError if no such z exists (no z, or K = 1).
    """
    if not data.can_swap_z:
        raise DataError("no other z: the task has none, or K is 1")
    right = data.candidate[rows]
    other = (right + rng.integers(1, data.k, size=len(rows))) % data.k
    # Every target has as many z strings as every other (parities are balanced).
    by_target = np.argsort(data.z_candidate, kind="stable").reshape(data.k, -1)
    z = by_target[other, rng.integers(by_target.shape[1], size=len(rows))]
    tokens = data.tokens[rows].copy()
    tokens[:, data.layout.z] = data.z_tokens[z]
    return tokens, other
