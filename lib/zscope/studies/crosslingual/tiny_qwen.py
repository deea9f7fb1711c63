"""The embedded model of the cross-lingual study: a small Qwen2 with the problems' tokenizer.

It is an ordinary `Qwen2ForCausalLM`, built and trained in the workflow, so that whatever is
measured on it is measured on Qwen2.5 by the same code.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from zscope.core.checksums import write_checksums
from zscope.core.files import atomic_folder
from zscope.studies.crosslingual.config import TinyShape
from zscope.studies.crosslingual.problems.tokenizer import make_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

CONTEXT = 256  # tokens; the longest problem with its answer has about a quarter


def build_tiny_qwen(
    shape: TinyShape, seed: int
) -> tuple[Qwen2ForCausalLM, PreTrainedTokenizerFast]:
    """The untrained model, float32 on the CPU, and its tokenizer.

    Matrices are Gaussian with `init_std`, biases 0, gains 1, from a generator of their own: the
    global random state is neither read nor moved. Embeddings are tied; head dimensions are
    d_model / n_heads.
    """
    # Slow to import, and only this function needs it.
    from transformers import Qwen2ForCausalLM

    tokenizer = make_tokenizer()
    config = _qwen2_config(shape, tokenizer)
    with torch.random.fork_rng(devices=[]):
        model = Qwen2ForCausalLM(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0, shape.init_std, generator=generator)
            else:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
    return model, tokenizer


def _qwen2_config(shape: TinyShape, tokenizer: PreTrainedTokenizerFast) -> Any:
    from transformers import Qwen2Config

    return Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=shape.d_model,
        intermediate_size=shape.d_mlp,
        num_hidden_layers=shape.n_layers,
        num_attention_heads=shape.n_heads,
        num_key_value_heads=shape.n_kv_heads,
        max_position_embeddings=CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        initializer_range=shape.init_std,
        tie_word_embeddings=True,
        use_sliding_window=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def save_tiny_qwen(
    model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: str | Path
) -> None:
    """Write an ordinary Hugging Face folder (config, safetensors, tokenizer), whole or not at all.

    Raises OSError as the file system does.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()  # of a single file
    with atomic_folder(Path(folder)) as temporary:
        model.save_pretrained(temporary, safe_serialization=True)
        tokenizer.save_pretrained(temporary)
        write_checksums(temporary)
