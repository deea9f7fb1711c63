"""Training of the embedded cross-lingual model: texts, batches, loss, evaluation and gate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from zscope.core.errors import TrainingError
from zscope.core.provenance import derive_seed
from zscope.studies.crosslingual.config import TinyConfig, TinyTraining
from zscope.studies.crosslingual.problems.parallel import LANGUAGES, Language, Problem, generate
from zscope.studies.crosslingual.tiny_qwen import build_tiny_qwen
from zscope.tables.schema import Row
from zscope.training import Plan, ResumeFolder, ShuffledEpochs, Trainer, every, warmup_cosine

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM


@dataclass(frozen=True)
class TextBatch:
    """Texts padded on the right, and where their completions are.

    tokens: without the last one of each row, which predicts nothing. at: indices into the
    flattened [batch x seq] of the positions that predict a completion token (eos included), row by
    row; targets: those tokens; row: the row of each. n_layers: layers that are run; None: all.
    """

    tokens: Int[Tensor, "batch seq"]
    at: Int[Tensor, " predicted"]
    targets: Int[Tensor, " predicted"]
    row: Int[Tensor, " predicted"]
    n_layers: int | None = None


def encode_problem(
    tokenizer: PreTrainedTokenizerFast, problem: Problem, language: Language
) -> tuple[list[int], int]:
    """Token ids of prompt + completion + eos, and how many of them are the prompt's."""
    prompt = tokenizer(problem.prompt(language))["input_ids"]
    completion = tokenizer(problem.completion(language))["input_ids"]
    return [*prompt, *completion, tokenizer.eos_token_id], len(prompt)


def make_batch(texts: Sequence[tuple[list[int], int]], pad: int, device: torch.device) -> TextBatch:
    """One batch of (ids, length of the prompt).

    Padding needs no mask: attention is causal, so what is on the right of a token never reaches
    it, and no padded position predicts anything.
    """
    width = max(len(ids) for ids, _ in texts) - 1
    tokens = torch.full((len(texts), width), pad)
    at: list[int] = []
    targets: list[int] = []
    rows: list[int] = []
    for row, (ids, n_prompt) in enumerate(texts):
        tokens[row, : len(ids) - 1] = torch.tensor(ids[:-1])
        at += range(row * width + n_prompt - 1, row * width + len(ids) - 1)
        targets += ids[n_prompt:]
        rows += [row] * (len(ids) - n_prompt)
    return TextBatch(
        tokens.to(device),
        torch.tensor(at, device=device),
        torch.tensor(targets, device=device),
        torch.tensor(rows, device=device),
    )


def sorted_batches(
    texts: Sequence[tuple[list[int], int]], batch_size: int, pad: int, device: torch.device
) -> list[TextBatch]:
    """Batches of texts of about the same length, so that little is padded; the last may be
    smaller. Texts of one length keep their order."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i][0]))
    return [
        make_batch([texts[i] for i in order[start : start + batch_size]], pad, device)
        for start in range(0, len(order), batch_size)
    ]


class TextBatches(ShuffledEpochs):
    """The batches in shuffled epochs; the content of a batch never changes.

    A share `early_exit` of them is to leave the model before its last layers, after as many as one
    of `exits`, drawn uniformly.
    """

    def __init__(
        self,
        batches: Sequence[TextBatch],
        seed: int,
        early_exit: float = 0.0,
        exits: Sequence[int] = (),
    ) -> None:
        super().__init__(np.arange(len(batches)), 1, seed)
        self.batches, self.early_exit, self.exits = batches, early_exit, exits
        self._exit_rng = np.random.Generator(np.random.PCG64(derive_seed(seed, "exits")))

    def next(self) -> TextBatch:  # type: ignore[override]
        batch = self.batches[int(super().next()[0])]
        if self._exit_rng.random() >= self.early_exit:
            return batch
        return replace(batch, n_layers=int(self._exit_rng.choice(self.exits)))

    def state(self) -> dict[str, Any]:
        return {**super().state(), "exits": self._exit_rng.bit_generator.state}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self._exit_rng.bit_generator.state = state["exits"]


@contextmanager
def _layers(decoder: nn.Module, n: int | None) -> Iterator[None]:
    """A `Qwen2Model` that runs its first `n` layers alone; the config is where it looks."""
    config = cast(Any, decoder.config)
    whole = config.num_hidden_layers
    config.num_hidden_layers = whole if n is None else n
    try:
        yield
    finally:
        config.num_hidden_layers = whole


def completion_logits(decoder: nn.Module, batch: TextBatch) -> Float[Tensor, "predicted d_vocab"]:
    """Logits at the positions that predict a completion token, and nowhere else.

    decoder: a `Qwen2Model` with tied embeddings. Of a batch that leaves early, the logits are the
    final norm and the unembedding of the state after its `n_layers`.
    """
    with _layers(decoder, batch.n_layers):
        hidden = decoder(input_ids=batch.tokens, use_cache=False).last_hidden_state
    embeddings = cast(nn.Embedding, decoder.embed_tokens)
    return F.linear(hidden.flatten(0, 1)[batch.at], embeddings.weight)


def completion_loss(decoder: nn.Module, batch: TextBatch) -> Float[Tensor, ""]:
    """Mean cross-entropy of the completion tokens, eos included, in nats."""
    return F.cross_entropy(completion_logits(decoder, batch), batch.targets)


@torch.no_grad()
def evaluate(decoder: nn.Module, sets: dict[Language, list[TextBatch]]) -> list[Row]:
    """Per language: `loss` in nats per completion token, and `exact_accuracy`, the share of texts
    whose greedy completion is the right one to the last token.

    A greedy completion is right if and only if every completion token is the most likely one after
    the right ones before it, so one forward pass measures both.
    """
    rows = []
    for language, batches in sets.items():
        loss = tokens = right = texts = 0.0
        for batch in batches:
            logits = completion_logits(decoder, batch)
            loss += float(F.cross_entropy(logits, batch.targets, reduction="sum"))
            wrong = torch.zeros(len(batch.tokens), dtype=torch.bool, device=logits.device)
            wrong[batch.row[logits.argmax(-1) != batch.targets]] = True
            tokens += len(batch.targets)
            texts += len(wrong)
            right += int((~wrong).sum())
        shared = {"split": "held_out", "language": language}
        rows += [
            {**shared, "metric": "loss", "value": loss / tokens, "n": int(tokens)},
            {**shared, "metric": "exact_accuracy", "value": right / texts, "n": int(texts)},
        ]
    return rows


@dataclass(frozen=True)
class TrainedTiny:
    """The trained model in eval mode, its tokenizer, metric rows and (step, seconds) pairs."""

    model: Qwen2ForCausalLM
    tokenizer: PreTrainedTokenizerFast
    rows: list[Row]
    timing: list[tuple[int, float]]


def train_tiny(
    name: str, config: TinyConfig, seed: int, folder: ResumeFolder, device: torch.device
) -> TrainedTiny:
    """Train the embedded model, or resume it from its folder.

    Only problems that are not held out are trained on, and only held-out ones are evaluated. Does
    not apply the gate (see `check_gate`). Raises TrainingError as Trainer.
    """
    training = config.training
    model, tokenizer = build_tiny_qwen(config.shape, derive_seed(seed, "init"))
    model.to(device)  # type: ignore[arg-type]
    pad = int(tokenizer.pad_token_id)

    def batches(problems: Sequence[Problem], languages: Sequence[Language]) -> list[TextBatch]:
        texts = [encode_problem(tokenizer, p, language) for p in problems for language in languages]
        return sorted_batches(texts, training.batch_size, pad, device)

    problems = generate(training.n_pairs, derive_seed(seed, "data"), held_out=False)
    held_out = generate(training.eval_problems, derive_seed(seed, "evaluation"), held_out=True)
    sets = {language: batches(held_out, [language]) for language in LANGUAGES}
    # The embeddings are tied, so the decoder without its head holds every weight once.
    decoder = model.model
    trainer = Trainer(
        name,
        decoder,
        [_optimizer(decoder, training)],
        TextBatches(
            batches(problems, LANGUAGES),
            derive_seed(seed, "order"),
            training.early_exit,
            config.exits,
        ),
        completion_loss,
        lambda decoder, step: [{"step": step, **row} for row in evaluate(decoder, sets)],
        warmup_cosine(training.warmup_steps, training.steps, training.final_lr_fraction),
        Plan(
            steps=training.steps,
            eval_steps=every(training.eval_every, training.steps),
            checkpoint_steps=every(training.checkpoint_every, training.steps),
            grad_clip=training.grad_clip,
        ),
        folder,
    )
    trained = trainer.train()
    rows = [{"language": "both", **row} for row in trained.rows]  # the loop's own rows have none
    return TrainedTiny(model.eval(), tokenizer, rows, trained.timing)


def _optimizer(decoder: nn.Module, training: TinyTraining) -> torch.optim.Optimizer:
    """AdamW that decays matrices, embeddings included, and neither biases nor gains."""
    matrices = [p for p in decoder.parameters() if p.ndim >= 2]
    vectors = [p for p in decoder.parameters() if p.ndim < 2]
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(
        groups,
        lr=training.lr,
        betas=(training.beta1, training.beta2),
        weight_decay=training.weight_decay,
        fused=True,
    )


def check_gate(rows: Sequence[Row], gate: float) -> None:
    """Raise TrainingError if the last `exact_accuracy` of a language is below `gate`."""
    last = {r["language"]: r for r in rows if r["metric"] == "exact_accuracy"}
    if all(row["value"] >= gate for row in last.values()):
        return
    found = ", ".join(f"{language} {r['value']:.3f} of {r['n']}" for language, r in last.items())
    raise TrainingError(
        f"the embedded model's exact answers on held-out problems are below the gate of {gate:g}: "
        f"{found}\n"
        "a study of a model that cannot do the task says nothing: train for more steps, take "
        "another seed, or lower the gate"
    )
