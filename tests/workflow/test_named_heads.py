"""The heads of a saved language model, through the workflow: every detector, page and figure."""

from __future__ import annotations

import re

import pytest
import yaml
from transformers import LlamaConfig, LlamaForCausalLM

from clones import Clone, Finished
from small_models import drawn, words_tokenizer
from zscope.studies.heads.registry import detector_names
from zscope.studies.heads.tables import ALL_MODELS, SKIPPED, SUMMARY
from zscope.tables.read import read_table

pytestmark = pytest.mark.slow

HEADS = {
    "subjects": ["mine"],
    "streams": {"sequences": 9, "length": 32, "prompts": 10, "list_items": 4},
    "detectors": {"max_flips": 1000, "max_offset": 4},
    "ablation": {"length": 16, "top_k": 1, "draws": 4, "kinds": ["mean", "zero"]},
}


def run(clone: Clone, *arguments: str) -> Finished:
    done = clone.snakemake(*arguments, config="mine")
    assert done.status == 0, done.output[-5000:]
    return done


def test_a_small_llama_goes_from_its_folder_to_verdicts_pages_and_figures(fresh: Clone) -> None:
    tokenizer = words_tokenizer()
    shape = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=8, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    folder = fresh.folder / "saved"
    drawn(LlamaForCausalLM(shape), 0.3).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    models = {"mine": {"path": str(folder)}}
    others = dict.fromkeys(("lag", "toylang", "crosslingual"))
    overlay = {**others, "models": models, "heads": HEADS, "bootstrap": {"resamples": 30}}
    (fresh.code / "config/mine.yaml").write_text(yaml.safe_dump(overlay))
    run(fresh, "heads")
    rows = read_table(fresh.folder / SUMMARY.path, SUMMARY)
    rows = rows[rows["model"] == ALL_MODELS].set_index("detector")
    assert set(rows.index) == set(detector_names())
    assert not (rows["verdict"] == SKIPPED).any()
    planned = run(fresh, "heads", "--forceall", "--dry-run").output
    figures = set(re.findall(r"results/figures/heads/\S+?\.svg", planned))
    assert "results/figures/heads/mine/score_map.svg" in figures
    assert all((fresh.folder / figure).is_file() for figure in figures)
    assert "Nothing to be done" in run(fresh, "heads").output
