"""The quantities of the lag study, against hand-worked numbers and naive loops."""

import math

import pytest
import torch

from zscope.models.transformer import Transformer, TransformerConfig
from zscope.studies.lag import quantities as q


@pytest.fixture
def logits():
    return torch.randn(6, 9, generator=torch.Generator().manual_seed(0))


def test_first_loss_is_the_cross_entropy(logits):
    first = torch.arange(6)
    wanted = torch.nn.functional.cross_entropy(logits.double(), first, reduction="none")
    assert torch.allclose(q.first_loss(logits, first), wanted)


def test_uniform_logits_give_log_vocabulary_and_chance():
    logits, first = torch.zeros(3, 8), torch.tensor([0, 3, 7])
    assert torch.allclose(q.first_loss(logits, first), torch.tensor(math.log(8)).double())
    assert torch.allclose(q.entropy(logits), torch.tensor(math.log(8)).double())
    # Ties share their places: an untrained model is at chance, not right.
    assert torch.allclose(q.first_accuracy(logits, first), torch.tensor(1 / 8).double())
    assert torch.allclose(q.rank(logits, first), torch.tensor(4.5).double())


def test_rank_is_one_for_the_best():
    logits = torch.tensor([[1.0, 3.0, 2.0]])
    ranks = [q.rank(logits, torch.tensor([i])).item() for i in range(3)]
    assert ranks == [3, 1, 2]


def test_set_mass_counts_a_shared_first_token_once(logits):
    probabilities = logits.double().softmax(-1)
    distinct = torch.tensor([[1, 4, 7]]).expand(6, 3)
    shared = torch.tensor([[1, 4, 4]]).expand(6, 3)
    assert torch.allclose(q.set_mass(logits, distinct), probabilities[:, [1, 4, 7]].sum(-1))
    assert torch.allclose(q.set_mass(logits, shared), probabilities[:, [1, 4]].sum(-1))


def test_set_mass_of_all_tokens_is_one(logits):
    everything = torch.arange(9).expand(6, 9)
    assert torch.allclose(q.set_mass(logits, everything), torch.ones(6).double())


def test_candidate_first_accuracy_ignores_tokens_outside_the_set():
    logits = torch.tensor([[9.0, 1.0, 2.0]])
    candidates = torch.tensor([[1, 2]])
    assert q.first_accuracy(logits, torch.tensor([2])).item() == 0
    assert q.candidate_first_accuracy(logits, torch.tensor([2]), candidates).item() == 1
    assert q.candidate_first_accuracy(logits, torch.tensor([1]), candidates).item() == 0


def test_z_gap_is_positive_when_another_z_hurts():
    right, other = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    assert q.z_gap(right, other, torch.tensor([0])).item() == pytest.approx(2.0)
    assert q.z_gap(right, right, torch.tensor([0])).item() == 0


def test_candidate_log_probs_equal_a_naive_loop():
    model = Transformer(TransformerConfig(2, 16, 2, 32, 10, 12, 0.5, 0.5)).init_weights(0)
    generator = torch.Generator().manual_seed(1)
    prefix = torch.randint(12, (5, 6), generator=generator)
    candidates = torch.randint(12, (5, 3, 4), generator=generator)
    with torch.no_grad():
        found = q.candidate_log_probs(lambda t: model(t, 5), prefix, candidates, max_sequences=4)
        for i in range(5):
            scores = []
            for candidate in candidates[i]:
                score, tokens = 0.0, prefix[i].tolist()
                for token in candidate.tolist():
                    out = model(torch.tensor([tokens]))[0, -1].double()
                    score += out.log_softmax(-1)[token].item()
                    tokens.append(token)
                scores.append(score)
            total = math.log(sum(math.exp(s) for s in scores))
            assert found[i].tolist() == pytest.approx([s - total for s in scores], abs=1e-5)
    assert found.dtype == torch.float64


def test_candidate_loss_is_log_k_when_nothing_tells_them_apart():
    log_probs = torch.full((4, 5), -math.log(5), dtype=torch.float64)
    metrics = q.candidate_metrics(log_probs, torch.arange(4))
    assert metrics.loss.tolist() == pytest.approx([math.log(5)] * 4)
    assert metrics.accuracy.tolist() == pytest.approx([1 / 5] * 4)
    assert metrics.top3.tolist() == pytest.approx([3 / 5] * 4)


def test_without_z_the_candidate_loss_is_log_k_plus_the_divergence_from_uniform():
    """log K is the lowest loss of a model that ignores z: a preference costs, right or wrong."""
    preference = torch.tensor([0.8, 0.1, 0.05, 0.05]).double()
    z_ignored = preference.log().expand(4, 4)  # each of the four targets is right once
    scores = q.candidate_metrics(z_ignored, torch.arange(4))
    divergence = -(4 * preference).log().mean().item()
    assert divergence > 0.5
    assert scores.loss.mean().item() == pytest.approx(math.log(4) + divergence)
    assert scores.accuracy.mean().item() == pytest.approx(1 / 4)


def test_candidate_metrics_by_place():
    log_probs = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).double().log()
    places = [q.candidate_metrics(log_probs, torch.tensor([i])) for i in range(4)]
    assert [p.accuracy.item() for p in places] == [1, 0, 0, 0]
    assert [p.top3.item() for p in places] == [1, 1, 1, 0]
    assert places[2].loss.item() == pytest.approx(-math.log(0.2))


def test_a_broken_model_is_not_silently_wrong():
    logits = torch.full((1, 3), torch.nan)
    assert q.first_accuracy(logits, torch.tensor([0])).isnan().all()
    assert q.first_loss(logits, torch.tensor([0])).isnan().all()
