"""Ablations at the last position of prompts, against slow runs that are written out here."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from viewed_models import VOCABULARY, viewed
from zscope.models.attention_view import Edit
from zscope.models.head_edits import in_rows, set_z, zero_z
from zscope.studies.heads.asked.model import Sizes
from zscope.studies.heads.config import AblationConfig, PromptsConfig, StreamsConfig
from zscope.studies.heads.prompted.attention_at_end import key_groups
from zscope.studies.heads.prompted.chosen_heads import NamedSet, named_sets
from zscope.studies.heads.prompted.conditions import conditions_of
from zscope.studies.heads.prompted.model import Instead, PromptedModel, in_turns, some_of
from zscope.studies.heads.prompted.readouts import Prediction
from zscope.studies.heads.prompted.rows import REST, TARGET, row_prompts
from zscope.studies.heads.prompted.running import run_all
from zscope.studies.heads.prompted.toylang import LEAST, sample_prompts
from zscope.studies.heads.tables import LOGIT_DOWN, LOGIT_UP, ONE_SHOT, P_DOWN, P_UP, PERSISTENT
from zscope.text.prompt_tokens import PromptTokens
from zscope.text.prompts import Prompt
from zscope.toy_language.config import LanguageConfig
from zscope.toy_language.distributions import LABELS
from zscope.toy_language.language import ToyLanguage

LENGTHS = {"a": 5, "b": 3, "c": 5, "d": 1, "e": 2}
FAMILIES = {"a": "x", "b": "x", "c": "y", "d": "y", "e": "z"}
SETS = [
    NamedSet("previous", ((1, 1), (0, 2), (1, 3))),
    NamedSet("induction", ((1, 1),)),
    NamedSet("delimiter", ((2, 0), (2, 1))),
]
CONFIG = PromptsConfig(generated_tokens=4, generated_prompts=3, pattern_prompts=2, top_k=3)
NAMES = ("llama", "bilinear", "lag")  # llama: two heads share each key-value head


def model_of(name: str) -> PromptedModel:
    generator = torch.Generator().manual_seed(3)
    view = viewed(name)
    prompts = []
    for prompt, length in LENGTHS.items():
        ids = tuple(torch.randint(1, VOCABULARY, (length,), generator=generator).tolist())
        made = Prompt(prompt, FAMILIES[prompt], prompt)
        prompts.append(PromptTokens(made, ids, texts_of(ids)))
    shape = view.n_layers, view.n_heads, view.d_head
    z_bar = torch.randn(shape, generator=generator, dtype=torch.float64)
    drawn = torch.randn((len(prompts), *shape), generator=generator, dtype=torch.float64)
    return PromptedModel(name, view, Instead(z_bar, drawn), prompts, texts_of, context=7)


def texts_of(ids):
    return tuple(f"<{i}>" for i in ids)


@pytest.fixture(scope="module")
def found():
    made = {}
    for name in NAMES:
        model = model_of(name)
        conditions = conditions_of(SETS, model.instead, CONFIG, seed=0)
        made[name] = model, conditions, run_all(model, conditions, CONFIG)
    return made


# --- by hand -----------------------------------------------------------------------------------


def edits_of(view, change):
    """A run that is edited by hand: change(layer, site, tensor) in place."""

    def edit(layer, site):
        def apply(x):
            x = x.clone()
            change(layer, site, x)
            return x

        return Edit(layer, site, apply)

    return [edit(layer, site) for layer in range(view.n_layers) for site in ("values", "z")]


def edited(view, ids, change):
    """Logits at the end of a run that is edited by hand."""
    return view.run(torch.tensor([ids]), edits_of(view, change)).logits[0, -1]


def by_hand(condition, model, prompt):
    """What a condition does, from its id alone, at the last position of what is run."""
    z_bar, drawn = model.instead.mean, model.instead.drawn[list(LENGTHS).index(prompt)]
    kind, _, rest = condition.partition("-")

    def change(layer, site, x):
        t = (x.shape[1] if site == "z" else x.shape[2]) - 1
        if kind in ("head", "random", "set") and site == "z":
            heads, _, to = rest.rpartition("-")
            sets = {s.detector: s.heads for s in SETS}
            of = sets[heads] if kind == "set" else [(int(heads[1]), int(heads[3]))]
            for at, h in of:
                if at == layer:
                    new = {"zero": 0 * z_bar, "mean": z_bar, "resample": drawn}[to]
                    x[0, t, h] = new[layer, h]
        if kind == "values" and site == "values":
            which, _, scope = rest.rpartition("-")
            keys = {
                "t1": [t - 1],
                "t12": [t - 1, t - 2],
                "previous": list(range(t)),
                "previous-but-first": list(range(1, t)),
            }[which]
            # The best previous-token head is L1H1: its own values, not those of its neighbour.
            heads = {"L1H1": [1], "L1": range(x.shape[1]), "all": range(x.shape[1])}[scope]
            if scope == "all" or layer == 1:
                for h in heads:
                    for j in keys:
                        x[0, h, j] = 0

    return change


@pytest.mark.parametrize("name", NAMES)
def test_every_condition_is_the_edit_that_it_says(found, name):
    model, conditions, run = found[name]
    rows = pd.DataFrame(run.conditions).set_index(["prompt", "condition"])
    ids = {p.prompt.id: p.ids for p in model.prompts}
    assert len(conditions) == 3 + 3 + 2 + 2 + 12
    compared = 0
    for prompt, of in ids.items():
        base = model.view.run(torch.tensor([of])).logits[0, -1].log_softmax(-1)
        assert rows.loc[(prompt, "base"), "predicted_id"] == base.argmax()
        assert rows.loc[(prompt, "base"), "log_p"] == pytest.approx(float(base.max()), abs=1e-6)
        for c in conditions:
            if len(of) - 1 < c.least_t:
                assert (prompt, c.id) not in rows.index
                continue
            log_p = edited(model.view, of, by_hand(c.id, model, prompt)).log_softmax(-1)
            row = rows.loc[prompt, c.id]
            assert row["predicted_id"] == log_p.argmax(), c.id
            kl = sum(float(b.exp() * (b - a)) for b, a in zip(base, log_p, strict=True))
            assert row["kl"] == pytest.approx(kl, abs=1e-6), c.id
            change = float(log_p[base.argmax()] - base.max())
            assert row["log_p_change"] == pytest.approx(change, abs=1e-5), c.id
            compared += kl > 1e-4
    assert compared > 30, "most conditions change something"


def test_conditions_without_a_token_before_are_left_out(found):
    _, conditions, run = found["llama"]
    there = pd.DataFrame(run.conditions).groupby("prompt")["condition"].agg(set)
    values = {c.id for c in conditions if c.id.startswith("values")}
    assert not there["d"] & values
    assert there["e"] & values == {
        f"values-{which}-{scope}" for which in ("t1", "previous") for scope in ("L1H1", "L1", "all")
    }
    assert values <= there["b"]


@pytest.mark.parametrize("name", NAMES)
def test_attention_under_a_condition_is_that_of_an_edited_run(found, name):
    """Of every layer behind the edit, key by key."""
    model, conditions, run = found[name]
    frame = pd.DataFrame(run.attention).set_index(["prompt", "condition", "layer"]).sort_index()
    compared = 0
    for p in model.prompts:
        clean = patterns_at_end(model.view, p.ids, None)
        for c in conditions:
            if len(p.ids) - 1 < c.least_t:
                continue
            ablated = patterns_at_end(model.view, p.ids, by_hand(c.id, model, p.prompt.id))
            edited_first = min(edit.layer for edit in c.edits(len(p.ids) - 1, [0]))
            for layer in range(model.view.n_layers):
                if layer <= edited_first:
                    assert (p.prompt.id, c.id, layer) not in frame.index
                    continue
                rows = frame.loc[(p.prompt.id, c.id, layer)].set_index("keys")
                for pattern, column in ((ablated, "weight"), (clean, "clean")):
                    (of,) = (x.mean(0) for x in [pattern[layer]])
                    wanted = {f"t-{d}": of[-1 - d] for d in range(min(len(of) - 1, 8))}
                    wanted |= {"first": of[0]}
                    wanted |= {"farther": of[1:-8].sum()} if len(of) > 9 else {}
                    kept = rows.drop("all")[column]
                    assert set(kept.index) == set(wanted)
                    for keys, weight in wanted.items():
                        assert kept[keys] == pytest.approx(float(weight), abs=1e-5)
                moved = (ablated[layer] - clean[layer]).abs().sum(-1).mean() / 2
                assert rows.loc["all", "weight"] == pytest.approx(float(moved), abs=1e-5)
                compared += moved > 1e-3
    assert compared > 5, "some patterns change"


def patterns_at_end(view, ids, change):
    """The last row of every layer's pattern, of a run that is edited by hand."""
    found = {}

    def keep(heads):
        found[heads.layer] = heads.pattern[0, :, -1].detach().double()

    edits = [] if change is None else edits_of(view, change)
    view.run(torch.tensor([ids]), edits, keep)
    return found


def test_resampled_z_is_that_of_the_studys_own_tokens():
    """Of each prompt a place of its own, and z as a run of the sequence has it."""
    view = viewed("llama")
    tokens = torch.tensor([[3, 1, 4, 1], [5, 9, 2, 6]])
    instead = Instead.of(view, tokens, 40, seed=1)
    z = {}
    view.run(tokens, visit=lambda heads: z.update({heads.layer: heads.z.detach().double()}))
    every = torch.stack([z[layer] for layer in range(view.n_layers)], 2).flatten(0, 1)
    distance = (instead.drawn[:, None] - every[None]).abs().flatten(2).amax(-1)
    assert distance.amin(1).max() < 1e-5
    assert len(set(distance.argmin(1).tolist())) == tokens.numel(), "all places are drawn"
    torch.testing.assert_close(instead.mean, every.mean(0), atol=1e-5, rtol=0)


def test_groups_of_keys_are_each_key_once():
    for length in range(1, 30):
        groups = list(key_groups(length))
        keys = sorted(k for _, _, of in groups for k in of)
        assert keys == list(range(length)), length
        assert len({name for name, _, _ in groups}) == len(groups)


@pytest.mark.parametrize("name", NAMES)
def test_continuations_are_those_of_one_run_a_step(found, name):
    """One-shot edits leave step 2 alone; persistent ones move with the text."""
    model, conditions, run = found[name]
    frame = pd.DataFrame(run.continuations)
    generated = some_of(model.prompts, CONFIG.generated_prompts)
    assert [p.prompt.id for p in generated] == ["a", "c", "e"]
    assert list(dict.fromkeys(frame["prompt"])) == ["a", "c", "e"]
    differ = 0
    for p in generated:
        # The context of 7 has room for 3 tokens behind 5: the last is read by nothing.
        n = {5: 3, 2: 4}[len(p.ids)]
        base = slowly(model.view, p.ids, n, lambda step: None)
        assert written(frame, p, "base", "base") == (base, None)
        for c in conditions:
            if len(p.ids) - 1 < c.least_t:
                continue
            change = by_hand(c.id, model, p.prompt.id)
            for mode, steps in ((PERSISTENT, range(n)), (ONE_SHOT, [0])):
                ids = slowly(
                    model.view, p.ids, n, lambda s, on=steps, by=change: by if s in on else None
                )
                others = [i for i, (x, y) in enumerate(zip(ids, base, strict=True), 1) if x != y]
                assert written(frame, p, c.id, mode) == (ids, others[0] if others else None), c.id
                differ += bool(others)
    assert differ > 5, "some continuations are others"


def slowly(view, ids, n, change_at):
    ids = list(ids)
    start = len(ids)
    for step in range(n):
        change = change_at(step)
        logits = (
            view.run(torch.tensor([ids])).logits[0, -1]
            if change is None
            else edited(view, ids, change)
        )
        ids.append(int(logits.argmax()))
    return ids[start:]


def written(frame, p, condition, mode):
    rows = frame[
        (frame["prompt"] == p.prompt.id)
        & (frame["condition"] == condition)
        & (frame["mode"] == mode)
    ]
    assert rows["step"].tolist() == list(range(1, len(rows) + 1))
    assert rows["token"].tolist() == list(texts_of(rows["token_id"]))
    (first,) = rows["first_step"].unique()
    return rows["token_id"].tolist(), None if pd.isna(first) else int(first)


def test_edits_of_rows_are_those_of_each_row_alone():
    view, model = viewed("llama"), model_of("llama")
    tokens = torch.tensor([[3, 1, 4], [1, 5, 9], [2, 6, 5]])
    parts = [
        (slice(0, 1), [zero_z(0, [1]), set_z(2, model.instead.mean[2], [0])]),
        (slice(2, 3), [zero_z(0, [2])]),
    ]
    together = view.run(tokens, in_rows(parts)).logits
    for rows, edits in (*parts, (slice(1, 2), [])):
        torch.testing.assert_close(together[rows], view.run(tokens[rows], edits).logits)


# --- readouts ----------------------------------------------------------------------------------


def test_a_rise_of_all_logits_moves_nothing():
    logits = torch.randn(2, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    base, same = Prediction.of(logits), Prediction.of(logits + torch.tensor([[3.0], [-1.0]]))
    assert base.kl(same).amax() < 1e-12
    moved = [abs(s["value"]) for of in same.shifts(base, 9, texts_of) for s in of]
    assert max(moved, default=0) < 1e-12


def test_the_tokens_that_move_most_are_ranked_from_either_side():
    base = Prediction.of(torch.tensor([[4.0, 0.0, 0.0, 0.0]]))
    ablated = Prediction.of(torch.tensor([[2.0, 1.0, 0.0, 5.0]]))
    (shifts,) = ablated.shifts(base, 2, texts_of)
    by_ranking = {
        r: [(s["rank"], s["token_id"]) for s in shifts if s["ranking"] == r]
        for r in (LOGIT_UP, LOGIT_DOWN, P_UP, P_DOWN)
    }
    # Centred changes by hand: means 1 and 2, so -3, 0, -1, 4; of no change there is no row.
    assert by_ranking[LOGIT_UP] == [(1, 3)]
    assert by_ranking[LOGIT_DOWN] == [(1, 0), (2, 2)]
    values = {s["token_id"]: s["value"] for s in shifts if s["ranking"].startswith("logit")}
    assert values == {3: 4.0, 0: -3.0, 2: -1.0}
    # Of p by hand: .948, .017, .017, .017 became .046, .017, .006, .930.
    assert by_ranking[P_UP] == [(1, 3)]
    assert by_ranking[P_DOWN] == [(1, 0), (2, 2)]


def test_patterns_are_those_of_the_run_without_edits(found):
    model, _, run = found["llama"]
    frame = pd.concat(run.patterns)
    assert list(dict.fromkeys(frame["prompt"])) == ["a", "c"]
    heads = []
    model.view.run(torch.tensor([model.prompts[2].ids]), visit=heads.append)
    of = frame[frame["prompt"] == "c"]
    assert len(of) == model.view.n_layers * 4 * 15
    for row in of.itertuples():
        expected = heads[row.layer].pattern[0, row.head, row.query, row.key]
        assert row.weight == pytest.approx(float(expected), abs=1e-6)
        assert row.key <= row.query


# --- which heads, and which prompts ------------------------------------------------------------


def score_row(detector, layer, head, value, *, named=False, by_class=False, class_value=None):
    return {
        **{"detector": detector, "stream": "text", "names": True, "layer": layer, "head": head},
        **{"value": value, "named": named, "named_by_class": by_class, "class_value": class_value},
    }


def test_heads_of_a_set_stand_by_the_score_that_names_them():
    scores = pd.DataFrame(
        [
            score_row("induction", 0, 0, 0.5, named=True, class_value=0.9),
            score_row("induction", 1, 1, 0.1, by_class=True, class_value=0.8),
            score_row("induction", 1, 2, 0.99, class_value=0.99),
            score_row("previous", 0, 1, 0.2),
            score_row("previous", 0, 2, 0.25),
            score_row("previous", 1, 0, np.nan),
            score_row("first", 0, 0, 0.9),
        ]
    )
    assert named_sets(scores) == [
        NamedSet("previous", ((0, 2),), named=False),
        NamedSet("induction", ((1, 1), (0, 0))),
    ]


def test_a_head_that_is_not_named_says_so_and_one_of_two_sets_is_run_once():
    instead = Instead(torch.zeros(2, 4, 3), torch.zeros(1, 2, 4, 3))
    sets = [NamedSet("previous", ((0, 2),), named=False), NamedSet("induction", ((0, 2), (1, 0)))]
    labels = [c.label for c in conditions_of(sets, instead, PromptsConfig(kinds=["zero"]), 0)]
    assert labels[0] == "L0H2, zero (highest previous score, not named; induction)"
    assert labels[1] == "the 2 heads of induction, mean"
    beside = [label for label in labels if "random" in label]
    assert len(beside) == 1
    assert beside[0][:4] in ("L0H0", "L0H1", "L0H3")
    none = conditions_of([], instead, PromptsConfig(), 0)
    assert [c.id for c in none] == [
        f"values-{w}-all" for w in ("t1", "t12", "previous", "previous-but-first")
    ]


def test_families_take_turns():
    families = {"a": iter("123"), "b": iter("x"), "c": iter("pq")}
    assert in_turns(families, 5) == ["1", "x", "p", "2", "q"]
    assert in_turns({"a": iter("1")}, 5) == ["1"]


def test_a_toy_prompt_ends_before_what_its_family_governs():
    language = ToyLanguage(LanguageConfig(length=24))
    drawn = language.sample(60, np.random.default_rng(0))
    prompts = sample_prompts(drawn.tokens, drawn.labels, language.vocabulary, 9)
    assert len(prompts) == 9
    assert len({p.prompt.id for p in prompts}) == 9
    assert len({p.prompt.family for p in prompts}) > 2
    for p in prompts:
        i = int(p.prompt.id.rpartition("-")[2])
        n = len(p.ids)
        assert list(p.ids) == drawn.tokens[i, :n].tolist()
        governed = [LABELS[label] for label in drawn.labels[i]]
        assert governed[n] == p.prompt.family
        assert p.prompt.family not in governed[LEAST:n]
        assert p.prompt.text == " ".join(p.texts)


def test_a_prompt_of_rows_ends_before_the_target_or_within_the_rest():
    rows = pd.DataFrame(
        {"sequence": s, "position": i, "token_id": 10 * s + i, "token": f"{s}.{i}"}
        | {"special": i == 0, "measured": i in (4, 5)}
        for s in range(8)
        for i in range(7)
    )
    sizes = Sizes.of_ablations(StreamsConfig(), AblationConfig(), 0, "effects")
    prompts = row_prompts(rows, 5, sizes)
    assert [p.prompt.family for p in prompts] == [TARGET, REST, TARGET, REST, TARGET]
    # The rest are positions 1, 2, 3 and 6: the middle one is 3.
    assert [len(p.ids) for p in prompts] == [4, 3, 4, 3, 4]
    assert len({p.ids[0] for p in prompts}) == 5
