"""The tokenizer of a model's folder, and the tokens that end and pad a text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zscope.core.errors import ConfigError
from zscope.models.identity import GENERATION

# The class that a saved tokenizer names if it is not of one model, in transformers 4 and 5.
GENERIC = ("PreTrainedTokenizerFast", "TokenizersBackend")
WHOLE = "tokenizer.json"  # a tokenizer in one file, of whatever kind
SETTINGS = "tokenizer_config.json"


def load_tokenizer(folder: Path) -> Any:
    """The folder's tokenizer, padding on the left. tokenizer.json alone is enough.

    Raises ConfigError if there is none, or if it cannot be read.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    whole, settings = (folder / WHOLE).is_file(), (folder / SETTINGS).is_file()
    if not whole and not settings:
        raise ConfigError(
            f"{folder}: no tokenizer ({WHOLE}, or {SETTINGS} and the files of its class)\n"
            "copy that of the model which this one was made from"
        )
    try:
        kind = json.loads((folder / SETTINGS).read_text("utf-8")) if settings else {}
        kind = kind.get("tokenizer_class")
        # AutoTokenizer would take the class that goes with the model, whatever the folder holds.
        plain = kind in GENERIC or (kind is None and whole)
        own = PreTrainedTokenizerFast if plain else AutoTokenizer
        tokenizer = own.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # `tokenizers` raises bare Exceptions
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"{folder}: its tokenizer cannot be read ({first[:200]})") from None
    tokenizer.padding_side = "left"
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    return tokenizer


def lacks_a_token(error: Exception) -> bool:
    """Whether an error of a tokenizer says that it has no token for a piece of the text."""
    # `tokenizers` has no class for this, and only its message to know it by.
    return "[UNK]" in str(error)


def plain_encoder(tokenizer: Any) -> Callable[[str], list[int]]:
    """Encodes a text without special tokens; empty if a piece of it has no token."""

    def encode(text: str) -> list[int]:
        try:
            ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
        except Exception as error:
            if not lacks_a_token(error):
                raise
            return []
        unknown = tokenizer.unk_token_id
        return [] if unknown is not None and unknown in ids else ids

    return encode


def front_tokens(tokenizer: Any) -> list[int]:
    """What stands in front of every sequence: what the tokenizer adds, else its first or last token
    of a text, so that attention has somewhere to rest."""
    if added := list(tokenizer("")["input_ids"]):
        return added[:1]
    known = (tokenizer.bos_token_id, tokenizer.eos_token_id)
    return next(([i] for i in known if i is not None), [])


def set_ends(folder: Path, config: Any, tokenizer: Any) -> Any:
    """The generation config with the tokens that end and pad a text, and nothing else.

    The ends are those of generation_config.json, else of config.json, else the tokenizer's. A
    tokenizer without a padding token is given its own end, else the first of these; what is padded
    is masked. config: the model's, of transformers.

    Raises ConfigError if nothing says what ends a text, or if the tokenizer has no such token.
    """
    from transformers import GenerationConfig

    found = _generation_settings(folder)
    named = (found.get("eos_token_id"), config.eos_token_id, tokenizer.eos_token_id)
    ends = next((ids for ids in named if ids not in (None, [])), None)
    if ends is None:
        raise ConfigError(
            f"{folder}: no token ends a text: neither {GENERATION}, config.json nor the tokenizer "
            f'names one\nadd its id to {GENERATION}: {{"eos_token_id": ...}}'
        )
    ids = ends if isinstance(ends, list) else [ends]
    if not all(type(i) is int and i >= 0 for i in ids):
        raise ConfigError(
            f"{folder}: eos_token_id is {ends!r}, not the id of a token or a list of ids"
        )
    if tokenizer.pad_token is None:
        end = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(ids[0])
        if end is None:
            raise ConfigError(
                f"{folder}: the tokenizer has no token {ids[0]}, which ends a text, and none that "
                f"pads one\ncorrect eos_token_id in {GENERATION} or config.json"
            )
        tokenizer.pad_token = end
    padding = found.get("pad_token_id", config.pad_token_id)
    return GenerationConfig(
        eos_token_id=ends, pad_token_id=tokenizer.pad_token_id if padding is None else padding
    )


def _generation_settings(folder: Path) -> dict[str, Any]:
    """What generation_config.json says; nothing if there is none."""
    file = folder / GENERATION
    try:
        return {**json.loads(file.read_text("utf-8"))} if file.is_file() else {}
    except (OSError, ValueError, TypeError, RecursionError) as error:
        first = str(error).splitlines()[0][:200]
        raise ConfigError(f"{file}: cannot be read ({first})") from None
