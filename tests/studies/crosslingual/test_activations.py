"""Saved activations: what a pass in memory has, padded, streamed, and damaged."""

import gc
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from zscope.core.errors import DataError
from zscope.core.jobs import peak_rss_mib
from zscope.models.language_model import LanguageModel, residual_states
from zscope.studies.crosslingual.config import TinyShape
from zscope.studies.crosslingual.problems.parallel import LANGUAGES, generate
from zscope.studies.crosslingual.space.activations import extract, layers_of, read_layer
from zscope.studies.crosslingual.tiny_qwen import build_tiny_qwen

N_LAYERS = 3
PROBLEMS = generate(10, 3, held_out=True)


@pytest.fixture(scope="module")
def lm():
    model, tokenizer = build_tiny_qwen(TinyShape(n_layers=N_LAYERS, init_std=0.3), 0)
    return LanguageModel(model.eval(), tokenizer, "tiny")


@pytest.fixture
def folder(lm, tmp_path):
    extract(lm, PROBLEMS, LANGUAGES, tmp_path / "states", batch_size=4)
    return tmp_path / "states"


def reference(lm, language, layer):
    """Prompt by prompt, unpadded, in memory."""
    return [
        residual_states(lm, *lm.encode([p.prompt(language)]), [layer])[layer][0] for p in PROBLEMS
    ]


def test_streamed_states_are_those_in_memory(lm, folder):
    assert layers_of(folder) == tuple(range(N_LAYERS + 1))
    for layer in range(N_LAYERS + 1):
        found = read_layer(folder, layer)
        assert set(found) == set(LANGUAGES)
        for language, states in found.items():
            assert states.problems == tuple(p.id for p in PROBLEMS)
            assert states.states.dtype == torch.float32
            rows = zip(states.states, states.mask, reference(lm, language, layer), strict=True)
            for state, mask, wanted in rows:
                assert mask.tolist() == [0] * (len(mask) - len(wanted)) + [1] * len(wanted)
                torch.testing.assert_close(state[mask.bool()], wanted, rtol=1e-3, atol=1e-3)
                assert not state[~mask.bool()].any()


def test_the_batch_size_changes_nothing_but_rounding(lm, folder, tmp_path):
    extract(lm, PROBLEMS, LANGUAGES, tmp_path / "other", batch_size=10)
    for language in LANGUAGES:
        ours, other = (read_layer(f, 2)[language] for f in (folder, tmp_path / "other"))
        assert ours.problems == other.problems
        assert torch.equal(ours.mask, other.mask)
        torch.testing.assert_close(ours.states, other.states, rtol=1e-4, atol=1e-4)


def test_a_rerun_writes_the_same_bytes(lm, folder, tmp_path):
    extract(lm, PROBLEMS, LANGUAGES, tmp_path / "again", batch_size=4)
    files = sorted(folder.rglob("*.parquet"))
    assert len(files) == N_LAYERS + 1
    for file in files:
        assert file.read_bytes() == (tmp_path / "again" / file.relative_to(folder)).read_bytes()


def test_the_columns_are_those_that_are_promised(lm, tmp_path):
    extract(lm, PROBLEMS, ["zh"], tmp_path / "s", "float16", 4, {"model": "tiny"})
    file = tmp_path / "s" / "layer=01" / "part-0000.parquet"
    table = pq.read_table(file, partitioning=None)
    names = ["problem", "language", "token", "position_from_end", "state"]
    assert table.column_names == names
    assert str(table.schema.field("state").type) == "fixed_size_list<element: halffloat>[64]"
    assert json.loads(table.schema.metadata[b"zscope.provenance"]) == {"model": "tiny"}
    frame = table.select(names[:4]).to_pandas()
    assert set(frame["language"]) == {"zh"}
    for problem in PROBLEMS:
        rows = frame[frame["problem"] == problem.id]
        n = len(lm.tokenizer(problem.prompt("zh"))["input_ids"])
        assert rows["token"].tolist() == list(range(n))
        assert rows["position_from_end"].tolist() == list(range(n))[::-1]
    assert pq.ParquetFile(file).num_row_groups == 3
    (states,) = read_layer(tmp_path / "s", 1).values()
    assert states.states.dtype == torch.float16
    for state, mask, wanted in zip(states.states, states.mask, reference(lm, "zh", 1), strict=True):
        torch.testing.assert_close(state[mask.bool()].float(), wanted, rtol=1e-3, atol=1e-3)


def test_what_float16_cannot_hold_is_an_error_that_names_float32(tmp_path):
    """A massive activation: one channel of the embeddings, past 65504."""
    model, tokenizer = build_tiny_qwen(TinyShape(n_layers=1), 0)
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 5] = 70_000
    lm = LanguageModel(model.eval(), tokenizer, "tiny")
    with pytest.raises(DataError) as caught:
        extract(lm, PROBLEMS, LANGUAGES, tmp_path / "s", "float16")
    assert "a state at layer 0 is 7e+04, past the end of float16 (65504)" in str(caught.value)
    assert "float32" in str(caught.value)
    assert not list(tmp_path.iterdir())
    extract(lm, PROBLEMS, LANGUAGES, tmp_path / "s", "float32")
    assert read_layer(tmp_path / "s", 0)["en"].states[:, -1, 5].tolist() == [70_000] * 10


def test_states_that_are_not_numbers_are_an_error(tmp_path):
    model, tokenizer = build_tiny_qwen(TinyShape(n_layers=2), 0)
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight[3] = torch.nan
    lm = LanguageModel(model.eval(), tokenizer, "tiny")
    with pytest.raises(DataError, match="a state at layer 1 is not finite"):
        extract(lm, PROBLEMS, LANGUAGES, tmp_path / "s")


def test_a_failed_extraction_leaves_the_old_one(lm, folder, monkeypatch):
    before = {f: f.read_bytes() for f in folder.rglob("*.parquet")}

    def dies(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("zscope.studies.crosslingual.space.activations.residual_states", dies)
    with pytest.raises(KeyboardInterrupt):
        extract(lm, PROBLEMS, LANGUAGES, folder)
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]
    assert {f: f.read_bytes() for f in folder.rglob("*.parquet")} == before


def test_a_leftover_of_a_killed_writer_is_removed(lm, tmp_path):
    (tmp_path / ".states.1.tmp" / "layer=00").mkdir(parents=True)
    extract(lm, PROBLEMS, LANGUAGES, tmp_path / "states")
    assert [p.name for p in tmp_path.iterdir()] == ["states"]


def test_two_problems_with_one_id_are_an_error(lm, tmp_path):
    with pytest.raises(DataError, match="the same id"):
        extract(lm, [PROBLEMS[0], PROBLEMS[0]], LANGUAGES, tmp_path / "s")


# --- damage -----------------------------------------------------------------------------------


def test_a_layer_that_is_not_there_is_named(folder):
    with pytest.raises(DataError, match=r"no layer 4: there are 0 to 3\nrebuild it: snakemake"):
        read_layer(folder, 4)


def test_a_folder_without_activations_is_named(tmp_path):
    with pytest.raises(DataError, match="holds no activations"):
        read_layer(tmp_path / "nowhere", 0)


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "other"])
def test_a_damaged_file_is_named(folder, damage):
    file = folder / "layer=02" / "part-0000.parquet"
    content = file.read_bytes()
    if damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        middle = len(content) // 2
        flipped = bytes([content[middle] ^ 1])
        file.write_bytes(content[:middle] + flipped + content[middle + 1 :])
    elif damage == "gone":
        file.unlink()
    else:
        pq.write_table(pq.read_table(file, partitioning=None).drop(["state"]), file)
    with pytest.raises(DataError, match=r"part-0000\.parquet: damaged, cannot be read"):
        read_layer(folder, 2)


def test_a_language_that_lacks_a_problem_is_an_error(folder):
    file = folder / "layer=00" / "part-0000.parquet"
    table = pq.read_table(file, partitioning=None)
    first = np.array(table["problem"]) == PROBLEMS[0].id
    english = np.array(table["language"]) == "en"
    pq.write_table(table.filter(~(first & english)), file)
    with pytest.raises(DataError, match="layer 0: a language lacks problems"):
        read_layer(folder, 0)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_problems(lm, tmp_path):
    """2000 problems have 90 MiB of states; a batch of 50 has a fortieth of that."""
    few, many = (generate(n, 3, held_out=True) for n in (200, 2000))
    extract(lm, few, LANGUAGES, tmp_path / "few", batch_size=50)
    gc.collect()
    before = peak_rss_mib()
    extract(lm, many, LANGUAGES, tmp_path / "many", batch_size=50)
    written = sum(f.stat().st_size for f in (tmp_path / "many").rglob("*.parquet")) / 2**20
    assert written > 80
    assert peak_rss_mib() - before < 0.2 * written
