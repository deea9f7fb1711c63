"""From models to verdicts and pages without Snakemake: untrained models of every source."""

from __future__ import annotations

import itertools
import json
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    LlamaForCausalLM,
)

from small_models import PROMPTS_KNOWN, drawn, words_tokenizer
from zscope.config.base import Bootstrap
from zscope.figures.frames import select
from zscope.models.attention_view_trained import TrainedView
from zscope.models.fetching import fetch_model
from zscope.models.language_model import LanguageModel
from zscope.models.registry import ModelSource
from zscope.models.tensor_transformer import TensorConfig, TensorTransformer
from zscope.models.transformer import Transformer, TransformerConfig
from zscope.studies.heads.ablating import Ablated, ablation_rows, screen
from zscope.studies.heads.asked.model import Sizes, SubjectFiles
from zscope.studies.heads.asked.named import language_model
from zscope.studies.heads.asked.rows import model_of_rows
from zscope.studies.heads.asked.toylang import ToyTexts, toy_model
from zscope.studies.heads.config import (
    AblationConfig,
    DetectorsConfig,
    PromptsConfig,
    StreamsConfig,
)
from zscope.studies.heads.head_map_rows import head_map_rows
from zscope.studies.heads.head_sets import heads_text
from zscope.studies.heads.measuring import measure
from zscope.studies.heads.pages.ablation_page import ablation_page
from zscope.studies.heads.pages.attention_summary import summarise_attention
from zscope.studies.heads.pages.condition_summary import summarise_conditions
from zscope.studies.heads.pages.detector_texts import detector_texts
from zscope.studies.heads.pages.head_map import head_map_page
from zscope.studies.heads.profiles import profile_rows
from zscope.studies.heads.prompted.chosen_heads import named_sets
from zscope.studies.heads.prompted.conditions import conditions_of
from zscope.studies.heads.prompted.model import PromptedModel
from zscope.studies.heads.prompted.named import prompted_language_model
from zscope.studies.heads.prompted.rows import row_prompts, texts_of
from zscope.studies.heads.prompted.running import run_all
from zscope.studies.heads.prompted.toylang import prompted_toy_model
from zscope.studies.heads.questions import named_heads, questions_of
from zscope.studies.heads.registry import detector_asks, load_detectors
from zscope.studies.heads.scoring import score_rows
from zscope.studies.heads.sources import load_source
from zscope.studies.heads.sums import Key
from zscope.studies.heads.sums_file import Measured, load_measured, save_measured
from zscope.studies.heads.tables import (
    ABLATIONS,
    CONDITION_ATTENTION,
    CONDITION_SUMMARY,
    CONTINUATIONS,
    DETECTORS,
    MAP,
    PATTERNS,
    PROFILES,
    PROMPT_ATTENTION,
    PROMPT_CONDITIONS,
    PROMPT_SHIFTS,
    PROMPT_TOKENS,
    SCORES,
    SCREEN,
    VERDICTS,
)
from zscope.studies.heads.verdicts import verdict_rows
from zscope.tables.read import read_table
from zscope.tables.write import write_table
from zscope.toy_language.config import LanguageConfig
from zscope.toy_language.language import ToyLanguage

STREAMS = StreamsConfig(
    sequences=9, length=20, shortest_period=5, longest_period=9, prompts=10, trained_sequences=12,
    list_items=4,
)  # fmt: skip
ABLATION = AblationConfig(
    sequences=6, length=16, trained_sequences=6, top_k=1, draws=4, kinds=["mean", "zero"]
)
DETECTOR_CONFIG = DetectorsConfig(max_offset=4, max_flips=1000)
BOOTSTRAP = Bootstrap(resamples=30)


def toy(attention, sizes):
    return toy_model("m", *toy_parts(attention), sizes)


def toy_parts(attention):
    language = ToyLanguage(LanguageConfig(length=20))
    shape = TensorConfig(
        d_vocab=len(language.vocabulary), n_ctx=20, n_layers=2, n_heads=2, d_model=16, d_head=4,
        attention=attention,
    )  # fmt: skip
    return drawn(TensorTransformer(shape)), ToyTexts(language)


def rows_model(sizes):
    shape = TransformerConfig(d_vocab=20, n_ctx=12, n_layers=2, n_heads=2, d_model=8, d_mlp=8)
    view = TrainedView(drawn(Transformer(shape)))
    return model_of_rows("m", view, rows_of_a_format(), sizes)


def rows_of_a_format():
    rng = np.random.default_rng(0)
    rows = [
        {
            **{"sequence": s, "position": i, "token_id": 0 if i == 0 else int(rng.integers(1, 20))},
            **{"token": "x", "special": i == 0, "measured": i == 8},
        }
        for s, i in itertools.product(range(30), range(12))
    ]
    return pd.DataFrame(rows)


def llama(sizes):
    return language_model("m", llama_parts(), sizes)


def llama_parts():
    tokenizer = words_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=8, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    return LanguageModel(drawn(LlamaForCausalLM(config), 0.3), tokenizer, "m")


SOURCES = {
    "bilinear": ("toylang", partial(toy, "bilinear")),
    "softmax": ("toylang", partial(toy, "softmax")),
    "rows": ("lag", rows_model),
    "llama": ("named", llama),
}
SKIPPED = {
    "bilinear": {"s_inhibition", "successor"},
    "softmax": {"s_inhibition", "successor"},
    "rows": {"s_inhibition", "successor", "delimiter", "duplicate"},
    "llama": set(),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_goes_from_models_to_verdicts(kind, tmp_path):
    name, make = SOURCES[kind]
    source = load_source(name)
    model = make(Sizes.of_scores(STREAMS, 0))
    detectors = {
        name: load_detectors(name, DETECTOR_CONFIG.settings) for name in DETECTOR_CONFIG.asked
    }
    measured = {
        name: through_file(measure(model, d, DETECTOR_CONFIG.settings, 5), tmp_path)
        for name, d in detectors.items()
    }
    assert {n for n, m in measured.items() if m.skipped} == SKIPPED[kind]
    first = {"subject": "s"}
    by_offset = [
        {**first, **row}
        for name, m in measured.items()
        for row in profile_rows(m, detectors[name], BOOTSTRAP)
    ]
    profiles = written(by_offset, PROFILES, tmp_path)
    assert set(profiles["offset"]) == set(range(DETECTOR_CONFIG.max_offset + 1))
    rows = score_rows(measured, detectors, bootstrap=BOOTSTRAP, settings=DETECTOR_CONFIG.naming)
    scores = written([first | row for row in rows], SCORES, tmp_path)
    assert set(scores["detector"]) >= set(DETECTOR_CONFIG.asked) - SKIPPED[kind]
    assert set(scores["weights"]) == (
        {"contribution"} if kind == "bilinear" else {"attention", "contribution", "without_first"}
    )
    assert scores["protocol_value"].isna().all() == (kind == "bilinear")
    applied = written(
        [
            {**first, "model": "m", "detector": name, "skipped": m.skipped}
            for name, m in measured.items()
        ],
        DETECTORS,
        tmp_path,
    )
    second = make(Sizes.of_ablations(STREAMS, ABLATION, 0, "effects"))
    third = make(Sizes.of_ablations(STREAMS, ABLATION, 0, "screen"))
    found, of_screen = source.behaviours(second), source.behaviours(third)
    # A rare primitive of the toy language may govern nothing in so few sequences.
    found, of_screen = ({n: x[n] for n in x if n in y} for x, y in permuted(found, of_screen))
    for name, behaviour in found.items():
        seen = {tuple(r) for p in of_screen[name].pieces for r in p.tokens.tolist()}
        own = {tuple(r) for p in behaviour.pieces for r in p.tokens.tolist()}
        few = name in ("successor", "successor_shuffled")  # as many lists as there are
        assert few or not seen & own, name
    screens = {n: screen(Ablated(third.view, b, BOOTSTRAP)) for n, b in of_screen.items()}
    listed = [row for n in screens for row in screens[n].rows(of_screen[n])]
    written([{**first, "model": "m", **row} for row in listed], SCREEN, tmp_path)
    effects = {n: Ablated(second.view, b, BOOTSTRAP) for n, b in found.items()}
    fourth = make(Sizes.of_ablations(STREAMS, ABLATION, 0, "draws"))
    ranks = {
        n: Ablated(fourth.view, b, BOOTSTRAP, mean_of=found[n])
        for n, b in source.behaviours(fourth).items()
        if n in found
    }
    questions = questions_of(scores, applied, source.own_and_control)
    assert {q.detector for q in questions} == set(DETECTOR_CONFIG.asked) - SKIPPED[kind]
    made = ablation_rows(effects, ranks, screens, questions, ABLATION, alpha=0.05, seed=0)
    ablations = written([{**first, "model": "m", **row} for row in made], ABLATIONS, tmp_path)
    verdicts = written(
        verdict_rows(scores, applied, ablations, draws=ABLATION.draws, alpha=0.05),
        VERDICTS,
        tmp_path,
    )
    over = verdicts[verdicts["model"] == "all"].set_index("detector")["verdict"]
    assert set(over.index) == set(DETECTOR_CONFIG.asked)
    assert {d for d, word in over.items() if word == "skipped"} == SKIPPED[kind]
    assert (verdicts["protocol_heads"].dropna() >= 0).all()
    effects_screen = read_table(tmp_path / "screen.parquet", SCREEN)
    heads = written(head_map_rows(scores, applied, effects_screen, ablations), MAP, tmp_path)
    assert set(heads["detector"]) == set(DETECTOR_CONFIG.asked) - SKIPPED[kind]
    compare_map(heads, scores, effects_screen, ablations, source)
    tokens, patterns = prompts_to_page(kind, scores, tmp_path)
    asks = {name: detector_asks(name) for name in DETECTOR_CONFIG.asked}
    texts = detector_texts(heads, ablations, verdicts, asks)
    assert {t.detector for t in texts if t.verdict == "skipped"} == SKIPPED[kind]
    page = head_map_page(heads, tokens, patterns, texts, subject="s", level=0.95)
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert [p["id"] for p in data["prompts"]] == list(patterns["prompt"].unique())
    assert [d["label"].partition(" ")[0] for d in data["detectors"]] == [t.detector for t in texts]


def compare_map(heads, scores, effects_screen, ablations, source):
    """Every number of the map is that of its table, for the detector's own behaviour."""
    for row in heads.itertuples():
        mine = select(scores, detector=row.detector)
        mine = select(mine, stream=mine["stream"].iloc[0], weights=row.weights)
        (score,) = select(mine, layer=row.layer, head=row.head).itertuples()
        np.testing.assert_equal((row.score, row.raw, row.q), (score.value, score.raw, score.q))
        assert (row.named_by == "all") == bool(score.named)
        if row.detector not in source.own_and_control:
            continue
        own, _ = source.own_and_control[row.detector]
        first = select(effects_screen, behaviour=own, layer=row.layer, head=row.head)["value"]
        name = heads_text([(row.layer, row.head)])
        exact = select(ablations, behaviour=own, heads=name, kind="mean", draw=-1)
        exact = exact[~exact["chosen_by"].isin(("set", "outside"))]["value"]
        if not pd.isna(row.first_order):
            assert [row.first_order] == first.tolist()
        assert set([] if pd.isna(row.effect) else [row.effect]) == set(exact)
    assert heads["effect"].notna().any()


def prompts_to_page(kind, scores, folder):
    """Prompts of the same model, through tables, to their page. Returns tokens and patterns."""
    model = PROMPTED[kind](Sizes.of_ablations(STREAMS, ABLATION, 0, "effects"))
    config = PromptsConfig(generated_prompts=2, generated_tokens=3, pattern_prompts=2, top_k=2)
    conditions = conditions_of(named_sets(scores), model.instead, config, 0)
    found = run_all(model, conditions, config)
    columns = {"subject": "s", "model": "m"}

    def of(rows, table):
        return written([{**columns, **row} for row in rows], table, folder)

    tokens = of(found.tokens, PROMPT_TOKENS)
    said = of(found.conditions, PROMPT_CONDITIONS)
    shifts = of(found.shifts, PROMPT_SHIFTS)
    continued = of(found.continuations, CONTINUATIONS)
    assert len(said) == sum(
        1 + sum(c.least_t < len(p.ids) for c in conditions) for p in model.prompts
    )
    assert set(said["condition"]) == {"base", *(c.id for c in conditions)}
    summary = of(summarise_conditions(said, BOOTSTRAP), CONDITION_SUMMARY)
    assert set(summary["condition"]) == {c.id for c in conditions}
    attention = of(found.attention, PROMPT_ATTENTION)
    moved = of(summarise_attention(attention, said, "own", BOOTSTRAP), CONDITION_ATTENTION)
    compare_attention(moved, attention)
    page = ablation_page(tokens, said, shifts, summary, continued, subject="s", level=0.95)
    assert page.count('<section class="prompt"') == len(model.prompts) > 1
    assert page.count("one-shot</button>") == 2
    if kind == "llama":
        assert set(tokens["family"]) == set(PROMPTS_KNOWN)
    patterns = written(pd.concat(found.patterns).assign(**columns), PATTERNS, folder)
    assert patterns["prompt"].nunique() == 2
    return tokens, patterns


def compare_attention(moved, attention):
    """Means over prompts, inside their intervals; a change is a difference."""
    if attention.empty:
        assert moved.empty
        return
    where = ["condition", "layer", "keys"]
    means = attention.groupby(where)[["weight", "clean"]].mean()
    wide = moved.pivot(index=where, columns="metric", values="value")
    for key, row in means.iterrows():
        found = wide.loc[key]
        if key[-1] == "all":
            assert found["moved"] == pytest.approx(row["weight"])
            continue
        assert found["ablated"] == pytest.approx(row["weight"])
        assert found["clean"] == pytest.approx(row["clean"])
        assert found["change"] == pytest.approx(row["weight"] - row["clean"], abs=1e-9)
    inside = moved.dropna(subset=["ci_low"])
    assert len(inside) > 0
    assert (inside["ci_low"] <= inside["value"] + 1e-9).all()
    assert (inside["value"] <= inside["ci_high"] + 1e-9).all()


def prompted_rows(sizes):
    rows = rows_of_a_format()
    model = rows_model(sizes)
    return PromptedModel.of(model, row_prompts(rows, 4, sizes), texts_of(rows), 12, 0)


def prompted_toy(attention, sizes):
    return prompted_toy_model("m", *toy_parts(attention), sizes, 4)


def prompted_llama(sizes):
    return prompted_language_model("m", llama_parts(), sizes, None)


PROMPTED = {
    "bilinear": partial(prompted_toy, "bilinear"),
    "softmax": partial(prompted_toy, "softmax"),
    "rows": prompted_rows,
    "llama": prompted_llama,
}


def permuted(a, b):
    return (a, b), (b, a)


def written(rows, table, folder):
    path = folder / f"{table.short}.parquet"
    write_table(rows, path, table, {})
    return read_table(path, table)


def through_file(measured: Measured, folder) -> Measured:
    """What is read back is what was written."""
    path = folder / "sums.safetensors"
    save_measured([measured], path, {})
    (found,) = load_measured(path)
    assert (found.model, found.signed, found.skipped) == ("m", measured.signed, measured.skipped)
    for a, b in zip(measured.sums, found.sums, strict=True):
        assert a.stream == b.stream
        assert list(a.sums) == list(b.sums)
        for key in a.sums:
            assert_same(a.sums[key], b.sums[key])
        for key, of in a.by_class.items():
            assert of.class_names == b.by_class[key].class_names
            for x, y in zip(of.nulls, b.by_class[key].nulls, strict=True):
                assert_same(x, y)
    for a, b in zip(measured.protocol, found.protocol, strict=True):
        assert a.question == b.question
        for part in ("value", "named", "offset"):
            np.testing.assert_array_equal(getattr(a, part), getattr(b, part))
    return found


def assert_same(a, b):
    assert a.differ == b.differ
    for part in ("hits", "rows", "null_hits", "null_rows"):
        x, y = getattr(a, part), getattr(b, part)
        assert (x is None) == (y is None)
        if x is not None:
            np.testing.assert_array_equal(x, y)


def test_heads_are_named_on_the_first_stream_by_rows_or_class():
    columns = ("stream", "names", "named", "named_by_class", "layer", "head")
    rows = [
        ("repeats", True, True, False, 1, 2),
        ("repeats", True, False, True, 0, 3),
        ("repeats", True, False, False, 0, 0),
        ("repeats", False, True, False, 0, 1),
        ("text", True, True, True, 0, 2),
    ]
    assert named_heads(pd.DataFrame(rows, columns=columns)) == ((0, 3), (1, 2))
    assert named_heads(pd.DataFrame([], columns=columns)) == ()


@pytest.mark.parametrize("config", [GPT2Config, GPTNeoXConfig])
def test_a_folder_of_any_architecture_that_can_be_seen_is_a_subject(config, tmp_path):
    tokenizer = words_tokenizer()
    shape = config(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=8, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=64, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    saved = tmp_path / "saved"
    drawn(AutoModelForCausalLM.from_config(shape), 0.3).save_pretrained(saved)
    tokenizer.save_pretrained(saved)
    row = fetch_model("mine", ModelSource(path=str(saved)), str(tmp_path / "weights"), None, None)
    assert (row["n_layers"], row["n_kv_heads"], row["d_head"]) == (2, 4, 4)
    asks = load_source("named").asks(
        SubjectFiles(
            {"mine": str(tmp_path / "weights")}, [], {}, torch.float32, torch.device("cpu")
        )
    )
    model = next(iter(asks))(Sizes.of_scores(STREAMS, 0))
    measured = measure(
        model, load_detectors("previous", DETECTOR_CONFIG.settings), DETECTOR_CONFIG.settings, 5
    )
    (text,) = (s for s in measured.sums if s.stream == "text")
    own = text.sums[Key("previous", "score", "attention")]
    eager = AutoModelForCausalLM.from_pretrained(saved, attn_implementation="eager")
    ids = model.streams["text"][0].ids
    with torch.no_grad():
        patterns = eager(ids, output_attentions=True).attentions
    expected = torch.stack([p.diagonal(-1, -2, -1)[..., 1:].sum(-1) for p in patterns], 1)
    assert np.allclose(own.hits, expected.numpy(), atol=1e-5)
