"""A causal language model of Hugging Face: load, encode, generate, and where to hook it.

"resid_pre(l)" is the input of decoder layer l; the state after the last layer is taken before the
final norm (`hidden_states[L]` of transformers is after it).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from zscope.core.checksums import changed_file
from zscope.core.errors import CheckpointError, ConfigError, DataError, rebuild
from zscope.models.architectures import (
    ARCHITECTURES,
    Architecture,
    FfnWeights,
    LayerType,
    architecture,
    architecture_of,
    check_settings,
)
from zscope.models.attention_kernels import AttentionWeights
from zscope.models.identity import check_safetensors, model_digest
from zscope.models.tokenizers import lacks_a_token, load_tokenizer, set_ends

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

HEADROOM = 1.2  # the memory that must be free, over that of the weights
# Where quantisers write that they were there: keys of config.json, files of older ones.
QUANTISED_KEYS = ("quantization_config", "quantization")
QUANTISED_FILES = ("quantize_config.json", "quant_config.json")


@dataclass(frozen=True)
class Generated:
    """A continuation. text: without special tokens; finished: whether an end-of-text token came;
    n_tokens: tokens generated, without that one."""

    text: str
    finished: bool
    n_tokens: int


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a model, and its id with the digest."""

    name: str
    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    parameters: int


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A plain model in eval mode, its left-padding tokenizer, and its id with the digest."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str

    @property
    def n_layers(self) -> int:
        return self.model.config.num_hidden_layers

    @property
    def d_model(self) -> int:
        return self.model.config.hidden_size

    @property
    def n_heads(self) -> int:
        return self.model.config.num_attention_heads

    @property
    def n_kv(self) -> int:
        return self.model.config.num_key_value_heads

    @property
    def d_head(self) -> int:
        return self.layer(0).self_attn.head_dim  # type: ignore[union-attr, return-value]

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    @property
    def norm(self) -> nn.Module:
        """The final norm; its forward-pre-hook sees the final residual."""
        return self.model.model.norm

    def layer(self, layer: int) -> nn.Module:
        """Decoder layer `layer`; its forward-pre-hook sees resid_pre."""
        return self.model.model.layers[layer]

    @property
    def architecture(self) -> Architecture:
        """What its class calls the parts of a layer. Raises ConfigError if it is not known."""
        return architecture_of(self.model)

    @property
    def layer_types(self) -> tuple[LayerType, ...]:
        """The type of every layer: of its mask, and of its rotary embedding."""
        return self.architecture.layer_types(self.model.config)

    def attention_weights(self, layer: int) -> AttentionWeights:
        """Float64 copies of the layer's attention weights, on the CPU."""
        return self.architecture.attention_weights(self.layer(layer))

    def ffn_weights(self, layer: int) -> FfnWeights:
        """The layer's FFN weights, with float64 copies of its gains."""
        return self.architecture.ffn_weights(self.layer(layer))

    def attention_write(self, layer: int) -> nn.Module:
        """The module whose output the layer's attention adds to the stream."""
        return self.architecture.attention_write(self.layer(layer))

    def ffn_write(self, layer: int) -> nn.Module:
        """The module whose output the layer's FFN adds to the stream."""
        return self.architecture.ffn_write(self.layer(layer))

    def unembed(self, normed: Float[Tensor, "*n d"]) -> Float[Tensor, "*n vocab"]:
        """Logits from the output of the final norm, capped where the model caps them (Gemma)."""
        logits = self.model.lm_head(normed)
        cap = getattr(self.model.config, "final_logit_softcapping", None)
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def encode(
        self, texts: Sequence[str]
    ) -> tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]]:
        """Token ids and attention mask, padded on the left, on the model's device.

        Raises DataError if the tokenizer has no token for a piece of a text.
        """
        try:
            encoded = self.tokenizer(list(texts), padding=True, return_tensors="pt")
        except Exception as error:
            if not lacks_a_token(error):
                raise
            raise DataError(
                f"the tokenizer of {self.name} has no token for a piece of one of these "
                f"{len(texts)} texts, which begin with {texts[0][:60]!r}\n"
                "the embedded model knows generated problems only: give hand-written ones to a "
                "model of the hub"
            ) from None
        ids, mask = encoded["input_ids"], encoded["attention_mask"]
        return ids.to(self.device), mask.to(self.device)

    @property
    def end_tokens(self) -> list[int]:
        """The tokens that end a text."""
        ends = self.model.generation_config.eos_token_id
        return ends if isinstance(ends, list) else [] if ends is None else [ends]

    def decode(self, tokens: Sequence[int]) -> Generated:
        """Generated tokens as text; after the first end comes padding, maybe of the same token."""
        ends = self.end_tokens
        end = next((i for i, token in enumerate(tokens) if token in ends), None)
        kept = list(tokens[:end])
        text = str(self.tokenizer.decode(kept, skip_special_tokens=True))
        return Generated(text, end is not None, len(kept))


def generate(
    lm: LanguageModel,
    ids: Int[Tensor, "batch seq"],
    mask: Int[Tensor, "batch seq"],
    max_new_tokens: int,
    stop: Callable[[str], bool] | None = None,
) -> list[Generated]:
    """Greedy continuations of left-padded prompts, with a key-value cache.

    A row ends early once `stop` is true of its text, which keeps all that was generated.
    """
    from transformers import StoppingCriteriaList

    lengths: dict[int, int] = {}  # of the rows that were stopped

    def stopped(input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        new = input_ids[:, ids.shape[1] :].tolist()
        for row, tokens in enumerate(new):
            if row not in lengths and stop and stop(lm.decode(tokens).text):
                lengths[row] = len(tokens)
        return torch.tensor([row in lengths for row in range(len(new))], device=input_ids.device)

    with torch.no_grad():
        out = lm.model.generate(  # type: ignore[operator]
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            stopping_criteria=StoppingCriteriaList([stopped] if stop else []),
        )
    new = out[:, ids.shape[1] :].tolist()
    return [lm.decode(tokens[: lengths.get(row)]) for row, tokens in enumerate(new)]


def residual_states(
    lm: LanguageModel,
    ids: Int[Tensor, "batch seq"],
    mask: Int[Tensor, "batch seq"],
    layers: Sequence[int],
) -> dict[int, Float[Tensor, "batch seq d"]]:
    """resid_pre(l) of every l in `layers`, in the model's dtype and on its device.

    Layer n_layers is the final residual, before the final norm. At padded positions the states
    mean nothing. Positions are counted from each row's first real token, as in generation.
    """
    found: dict[int, Tensor] = {}

    def keep(layer: int) -> Any:
        return lambda module, args: found.__setitem__(layer, args[0])

    with torch.no_grad(), _hooks({_input_of(lm, layer): keep(layer) for layer in layers}):
        lm.model.model(
            input_ids=ids, attention_mask=mask, position_ids=positions(mask), use_cache=False
        )
    return found


def positions(mask: Int[Tensor, "batch seq"]) -> Int[Tensor, "batch seq"]:
    """Positions counted from each row's first real token; 0 on its padding."""
    return (mask.long().cumsum(-1) - 1).clamp(min=0)


def _input_of(lm: LanguageModel, layer: int) -> nn.Module:
    return lm.norm if layer == lm.n_layers else lm.layer(layer)


@contextmanager
def _hooks(hooks: Mapping[nn.Module, Any]) -> Iterator[None]:
    handles = [module.register_forward_pre_hook(hook) for module, hook in hooks.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


# --- loading -----------------------------------------------------------------------------------


def read_shape(
    spec: Mapping[str, Any], weights: str | Path | None = None, *, known: bool = True
) -> ModelShape:
    """The shape of a model, by its config.json alone; arguments and errors as those of
    `load_language_model`."""
    return shape_of(*_locate(spec, weights), known=known)


def shape_of(folder: Path, name: str, *, known: bool = True) -> ModelShape:
    """The shape of the model in a folder, under this name; `known` as for `load_language_model`.
    Raises ConfigError for one that is not supported. It does not read the weights, which cost time
    to identify."""
    config = _check_architecture(folder, known)
    model = _without_weights(config)
    n_heads = config.num_attention_heads
    return ModelShape(
        name=name,
        n_layers=config.num_hidden_layers,
        d_model=config.hidden_size,
        n_heads=n_heads,
        n_kv_heads=getattr(config, "num_key_value_heads", n_heads),
        d_head=getattr(config, "head_dim", None) or config.hidden_size // n_heads,
        parameters=sum(p.numel() for p in model.parameters()),
    )


def load_language_model(
    spec: Mapping[str, Any],
    device: torch.device,
    dtype: torch.dtype,
    weights: str | Path | None = None,
    *,
    known: bool = True,
) -> LanguageModel:
    """The model of a config's `model` block, in eval mode. No code of the model's folder is run.

    known: whether it has to be of an architecture whose parts are known, as all but `model`,
    `tokenizer` and the sizes of what is returned need.

    spec: {"tiny": True}, the embedded model, from the folder `weights`; {"path": folder, "digest":
    of its files, if it has to be that model}; other keys None.

    Raises:
        ConfigError: the model cannot be found, is another one than the digest says, has an
            architecture that is not supported, quantised weights or an incomplete tokenizer, or
            does not fit into memory (found out before the weights are read).
        CheckpointError: there are no safetensors weights, or they are damaged or incomplete.
    """
    folder, name = _locate(spec, weights)
    config = _check_architecture(folder, known)
    _check_memory(config, name, device, dtype)
    check_safetensors(folder)
    tokenizer = load_tokenizer(folder)
    # Only the ends are kept: a repetition penalty would change greedy choices.
    ends = set_ends(folder, config, tokenizer)
    model = _load_weights(folder, dtype).to(device).eval().requires_grad_(False)
    model.generation_config = ends
    return LanguageModel(model, tokenizer, name)


def _locate(spec: Mapping[str, Any], weights: str | Path | None) -> tuple[Path, str]:
    """The model's folder, and its id with the digest."""
    if spec.get("tiny"):
        if not weights:
            raise ValueError("the embedded model needs the folder of its weights")
        folder = Path(weights)
        if damaged := changed_file(folder):
            raise CheckpointError(
                f"{damaged}: damaged, it is not as it was written\n{rebuild(folder)}"
            )
        return folder, f"tiny@{_file_digest(folder / 'model.safetensors')}"
    folder = _existing(Path(spec["path"]).expanduser())
    digest = model_digest(folder)
    if spec.get("digest") not in (None, digest):
        raise ConfigError(
            f"the model's folder {folder} holds other files now than when this run was planned\n"
            "run the same command again: it makes anew what is made from them"
        )
    return folder, f"{spec['path']}@{digest}"


def _existing(folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        problem = "has no config.json" if folder.is_dir() else "no such folder"
        raise ConfigError(
            f"the model's folder {folder}: {problem}\n"
            "give a folder that save_pretrained wrote, with config.json, safetensors weights and "
            "the tokenizer"
        )
    return folder


def _check_architecture(folder: Path, known: bool) -> Any:
    """The model's transformers config. Raises ConfigError for one that is not supported."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    file = folder / "config.json"
    try:
        plain = json.loads(file.read_text("utf-8"))
        found = ", ".join(plain.get("architectures") or ["none"])
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ConfigError(f"{file}: cannot be read ({error})") from None
    if known:
        architecture(found, str(file))
    if method := _quantised(folder, plain):
        raise ConfigError(
            f"{folder}: its weights are quantised ({method}), and only plain ones are read\n"
            "take the model that it was made from, or save it with plain weights: "
            "model.dequantize() and model.save_pretrained(folder)"
        )
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # of many classes: settings that transformers does not take
        first = " ".join(str(error).split())[:200]
        raise ConfigError(f"{file}: transformers cannot use it ({first})") from None
    run: Any = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    if run is None or run.__name__ != found:
        raise ConfigError(
            f"{file}: architectures says {found}, and transformers reads a model of type "
            f"{config.model_type}\ncorrect architectures, or model_type and the other settings"
        )
    if found in ARCHITECTURES:
        check_settings(found, config, str(file))
    return config


def _quantised(folder: Path, plain: Mapping[str, Any]) -> str | None:
    """How the weights are quantised (gptq, awq, ...); None: they are not. plain: config.json."""
    for key in QUANTISED_KEYS:
        if settings := plain.get(key):
            named = settings.get("quant_method") if isinstance(settings, dict) else None
            return str(named or key)
    return next((name for name in QUANTISED_FILES if (folder / name).exists()), None)


def _without_weights(config: Any) -> Any:
    """The model of a config, with shapes but no numbers."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def _check_memory(config: Any, name: str, device: torch.device, dtype: torch.dtype) -> None:
    """Raise ConfigError if the weights will not fit, by the shapes in the config alone."""
    parameters = sum(p.numel() for p in _without_weights(config).parameters())
    needed = parameters * dtype.itemsize * HEADROOM
    for place in dict.fromkeys(("cpu", device.type)):  # weights pass through the CPU's memory
        if needed > (free := free_memory(device if place == device.type else torch.device("cpu"))):
            what = "GPU" if place == "cuda" else "CPU"
            raise ConfigError(
                f"model {name}: {parameters / 1e9:.2f} billion parameters in "
                f"{str(dtype).removeprefix('torch.')} need about {needed / 2**30:.1f} GiB, and "
                f"{free / 2**30:.1f} GiB of {what} memory are free\n"
                "set the dtype to bfloat16 (half of float32), take a machine or GPU with more "
                "memory, or a smaller model"
            )


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a GPU, or available to a process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def _load_weights(folder: Path, dtype: torch.dtype) -> Any:
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    load: Any = AutoModelForCausalLM.from_pretrained  # what it returns depends on its arguments
    try:
        model, report = load(
            folder,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"{folder}: the weights cannot be read ({str(error).splitlines()[0][:200]})\n"
            "fetch or write the folder again"
        ) from None
    # Left to itself, transformers draws what is missing at random.
    if missing := sorted(report["missing_keys"]):
        raise CheckpointError(
            f"{folder}: the weights lack {len(missing)} tensors, such as {missing[0]}\n"
            "fetch or write the folder again"
        )
    return model


def _file_digest(path: Path) -> str:
    """First 12 hex digits of the SHA-256 of a small file; of nothing if it is not there."""
    return sha256(path.read_bytes() if path.is_file() else b"").hexdigest()[:12]
