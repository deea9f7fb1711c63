"""The same models on a GPU: skipped, and said so, where there is none."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tiny_architectures import CONFIGS, language_model, padded, prompts
from zscope.models.language_model import generate, load_language_model, residual_states
from zscope.studies.crosslingual.config import TinyShape
from zscope.studies.crosslingual.problems.parallel import generate as problems
from zscope.studies.crosslingual.tiny_qwen import build_tiny_qwen, save_tiny_qwen

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device: models were not run on a GPU"
)
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
F32, BF16 = torch.float32, torch.bfloat16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("cuda") / "model"
    save_tiny_qwen(*build_tiny_qwen(TinyShape(), 0), path)
    return path


@pytest.mark.parametrize("name", CONFIGS)
def test_every_architecture_has_the_same_states_and_tokens_in_float32(name):
    ids, mask = padded(prompts())
    states, texts = [], []
    for device in (CPU, CUDA):
        lm = language_model(name)
        lm = replace(lm, model=lm.model.float().to(device))
        batch = (ids.to(device), mask.to(device))
        found = residual_states(lm, *batch, range(lm.n_layers + 1))
        states.append(torch.stack([found[layer].cpu() for layer in sorted(found)]))
        texts.append([g.text for g in generate(lm, *batch, 8)])
    assert texts[0] == texts[1]
    on_cpu, on_gpu = (x[:, mask.bool()] for x in states)
    torch.testing.assert_close(on_gpu, on_cpu, atol=1e-3, rtol=1e-4)


def test_a_folder_answers_on_the_gpu_as_on_the_cpu_in_float32(folder):
    texts = [problem.prompt("en") for problem in problems(8, 5, held_out=False)]
    answers = []
    for device in (CPU, CUDA):
        lm = load_language_model({"path": folder}, device, F32)
        assert lm.device.type == device.type
        answers.append(generate(lm, *lm.encode(texts), 12))
    assert answers[0] == answers[1]


def test_a_folder_loads_and_generates_in_bfloat16(folder):
    lm = load_language_model({"path": folder}, CUDA, BF16)
    assert lm.dtype == BF16
    ids, mask = lm.encode([problem.prompt("zh") for problem in problems(8, 5, held_out=False)])
    with torch.no_grad():
        assert lm.model(input_ids=ids, attention_mask=mask).logits.isfinite().all()
    found = generate(lm, ids, mask, 12)
    assert len(found) == 8
    assert all(0 < x.n_tokens <= 12 or x.finished for x in found)
