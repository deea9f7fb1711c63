"""A run of the toy language study: what it is trained and evaluated on, and that a kill changes
nothing but the clock."""

import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from zscope.config.base import Bootstrap
from zscope.core.provenance import derive_seed
from zscope.models.checkpoints import CheckpointFile, load_tensors
from zscope.models.tensor_checkpoints import load_tensor_model
from zscope.models.tensor_transformer import TensorTransformer
from zscope.studies.toylang import training as toylang_run
from zscope.studies.toylang.config import ToyRunConfig
from zscope.studies.toylang.tables import TIMING, TRAINING
from zscope.studies.toylang.training import (
    StagedBatches,
    evaluation_of,
    model_shape,
    next_token_loss,
    train_run,
)
from zscope.tables.read import read_table
from zscope.toy_language.batches import ToyBatches
from zscope.toy_language.distributions import LABEL_ID
from zscope.toy_language.excess import ToyEvaluation
from zscope.toy_language.language import ToyLanguage
from zscope.training import ResumeFolder

ROOT = Path(__file__).parents[3]
CPU = torch.device("cpu")
BOOTSTRAP = Bootstrap(resamples=20)
TOY = {
    "language": {"length": 16},
    "model": {"n_heads": 2, "d_model": 16, "d_head": 4},
    "training": {
        "steps": 24,
        "batch_size": 6,
        "warmup_steps": 4,
        "eval_sequences": 24,
        "eval_every": 6,
        "checkpoints_per_doubling": 1,
    },
}
SOFTMAX = {"attention": "softmax", "rms_norm": True}
CONFIGS = {
    "bilinear": {},
    "softmax": {"model": SOFTMAX},
    "delayed": {"delayed": {"skip": 8, "induction": 13}},
}


def config_of(**changes):
    values = {section: {**values, **changes.pop(section, {})} for section, values in TOY.items()}
    return ToyRunConfig.model_validate({**values, **changes})


def train(config, folder, seed=3):
    return train_run("run", config, seed, ResumeFolder(folder, "key"), CPU, BOOTSTRAP)


def weights_of(trained):
    return {step: load_tensors(path)[0] for step, path in trained.checkpoints.items()}


def bytes_of(trained):
    return {step: path.read_bytes() for step, path in trained.checkpoints.items()}


# --- batches ----------------------------------------------------------------------------------


def test_the_batches_of_one_stage_are_the_languages_own():
    config = config_of()
    ours, wanted = (
        StagedBatches(config.stages, 6, 5),
        ToyBatches(ToyLanguage(config.language), 6, 5),
    )
    for _ in range(70):  # more than one chunk
        np.testing.assert_array_equal(ours.next(), wanted.next())


def test_a_delayed_primitive_is_absent_up_to_its_step_and_there_from_it_on():
    delayed = {"skip": 8, "induction": 13}
    config = config_of(delayed=delayed, language={"length": 64})
    assert list(config.stages) == [0, 8, 13]
    stages = {s: ToyLanguage(language) for s, language in config.stages.items()}
    stream = StagedBatches(config.stages, 60, 1)
    first = ToyBatches(stages[0], 60, 1)
    whole = ToyLanguage(config.language)
    for step in range(20):
        batch = stream.next()
        if step < 8:
            np.testing.assert_array_equal(batch, first.next())
        present = stages[max(s for s in stages if s <= step)]
        present.conditionals(batch)  # raises for what that language cannot produce
        labels = whole.distributions.label[whole.rows(batch)]
        p = whole.distributions.p[whole.rows(batch), batch]
        for primitive, start in delayed.items():
            governed = labels == LABEL_ID[primitive]
            likely = (p[governed] > 0.5).mean()  # .9 and more where the primitive is on
            assert (likely > 0.75) == (step >= start), (primitive, step, likely)


@pytest.mark.parametrize("taken", [0, 1, 7, 8, 9, 12, 13, 14, 20])
def test_a_restored_stream_goes_on_where_it_was(taken):
    stages = config_of(**CONFIGS["delayed"]).stages
    stream = StagedBatches(stages, 4, 0)
    for _ in range(taken):
        stream.next()
    state = json.loads(json.dumps(stream.state()))
    wanted = [stream.next() for _ in range(20)]
    other = StagedBatches(stages, 4, 0)
    other.next()
    other.restore(state)
    assert other.state() == state
    np.testing.assert_array_equal([other.next() for _ in range(20)], wanted)


# --- one run ----------------------------------------------------------------------------------


def test_the_loss_is_that_of_every_token_but_the_first():
    config = config_of()
    language = ToyLanguage(config.language)
    model = TensorTransformer(model_shape(config.model, language)).init_weights(0)
    torch.nn.init.normal_(model.head.weight)
    batch = language.sample(3, np.random.default_rng(0)).tokens
    losses = [
        F.cross_entropy(model(torch.tensor(sequence[:t])[None])[0, -1], torch.tensor(sequence[t]))
        for sequence in batch
        for t in range(1, 16)
    ]
    found = next_token_loss(CPU)(model, batch)
    torch.testing.assert_close(found, torch.stack(losses).mean())


def test_an_untrained_model_is_uniform_so_its_excess_is_known(tmp_path):
    """U starts at 0: the excess is log V less the entropy of each position."""
    config = config_of()
    language = ToyLanguage(config.language)
    first = {
        r["primitive"]: r
        for r in train(config, tmp_path).rows
        if r["step"] == 0 and r["metric"] == "excess"
    }
    evaluation = evaluation_of(language, 24, BOOTSTRAP, CPU)
    rows = language.rows(evaluation.tokens.numpy())[:, 1:]
    entropy, label = language.distributions.entropy[rows], language.distributions.label[rows]
    for primitive, row in first.items():
        mask = np.full(label.shape, True) if primitive == "all" else label == LABEL_ID[primitive]
        assert row["value"] == pytest.approx(math.log(65) - entropy[mask].mean(), abs=1e-5)
        assert row["n"] == mask.sum()
        assert row["split"] == "held_out"
    assert {"all", "category", "novel", "bracket"} <= set(first)


def test_all_runs_of_a_language_are_evaluated_on_the_same_sequences(tmp_path, monkeypatch):
    seen = []
    excess = ToyEvaluation.excess

    def record(self, model):
        seen.append(self.tokens)
        return excess(self, model)

    monkeypatch.setattr(ToyEvaluation, "excess", record)
    for name, (changes, seed) in {
        "a": ({}, 0),
        "b": ({}, 1),
        "c": ({"model": SOFTMAX}, 0),
        "d": (CONFIGS["delayed"], 0),
    }.items():
        train(config_of(**changes), tmp_path / name, seed)
    assert all(torch.equal(tokens, seen[0]) for tokens in seen)
    assert seen[0].shape == (24, 16)


def test_each_run_has_its_own_weights_and_data(tmp_path, monkeypatch):
    batches = {}
    begin = toylang_run.StagedBatches

    class Recorded(begin):
        def next(self):
            batch = super().next()
            batches.setdefault(self._seed, []).append(batch)
            return batch

    monkeypatch.setattr(toylang_run, "StagedBatches", Recorded)
    runs = [weights_of(train(config_of(), tmp_path / str(seed), seed)) for seed in (0, 1)]
    assert not torch.equal(*(run[0]["tok_embed.weight"] for run in runs))
    assert list(batches) == [derive_seed(seed, "data") for seed in (0, 1)]
    first, second = (np.stack(b[:24]) for b in batches.values())
    assert (first != second).any()


def test_the_learning_rates_that_are_reported_are_those_that_were_used(tmp_path, monkeypatch):
    used = {"muon_lr": [], "adamw_lr": []}
    for name, kind in (("muon_lr", torch.optim.Muon), ("adamw_lr", torch.optim.AdamW)):
        step = kind.step

        def record(self, *args, step=step, name=name):
            used[name].append(self.param_groups[0]["lr"])
            assert self.param_groups[0]["weight_decay"] == 0
            return step(self, *args)

        monkeypatch.setattr(kind, "step", record)
    training = {"muon_lr": 0.03, "adamw_lr": 0.004, "final_lr_fraction": 0.1, "eval_every": 1}
    rows = train(config_of(training=training), tmp_path).rows
    for name, peak in (("muon_lr", 0.03), ("adamw_lr", 0.004)):
        told = {r["step"]: r["value"] for r in rows if r["metric"] == name}
        assert [told[i + 1] for i in range(24)] == used[name]
        assert used[name][:4] == pytest.approx([peak * i / 4 for i in (1, 2, 3, 4)])
        falls = np.diff(used[name][3:])
        assert falls == pytest.approx(np.full(20, -0.9 * peak / 20))
        assert used[name][-1] == pytest.approx(0.1 * peak)


def test_it_is_evaluated_and_saved_when_the_config_says(tmp_path):
    config = config_of()
    trained = train(config, tmp_path)
    assert sorted({r["step"] for r in trained.rows}) == [0, 1, 2, 4, 6, 12, 18, 24]
    assert sorted(trained.checkpoints) == [0, 1, 2, 4, 8, 16, 24]


@pytest.mark.parametrize("model", [{}, SOFTMAX], ids=["bilinear", "softmax"])
def test_the_run_learns_what_it_is_taught(tmp_path, model):
    training = {"steps": 120, "batch_size": 32, "eval_every": 120}
    config = config_of(training=training, model={**model, "d_model": 32, "d_head": 8})
    rows = [r for r in train(config, tmp_path).rows if r["metric"] == "excess"]
    last = {r["primitive"]: r["value"] for r in rows if r["step"] == 120}
    first = {r["primitive"]: r["value"] for r in rows if r["step"] == 0}
    # What the last token decides comes first.
    for primitive, share in (("category", 0.5), ("bigram", 0.25), ("novel", 0.25)):
        assert 0 < last[primitive] < share * first[primitive], primitive


# --- killed and resumed -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    out = {}
    for name, changes in CONFIGS.items():
        trained = train(config_of(**changes), tmp_path_factory.mktemp(name))
        out[name] = trained.rows, bytes_of(trained)
    return out


class Killed(Exception):  # noqa: N818
    """What stands for a kill."""


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("at", [1, 7, 8, 13, 17, 23])
def test_a_kill_changes_nothing(tmp_path, monkeypatch, uninterrupted, name, at):
    """Killed before batch `at`; the last checkpoint before it is gone back to. Muon's momentum and
    AdamW's moments must come back for the bytes to agree."""
    config, taken = config_of(**CONFIGS[name]), []
    give = StagedBatches.next

    def killed(self):
        taken.append(0)
        if len(taken) > at:
            raise Killed
        return give(self)

    with monkeypatch.context() as patch:
        patch.setattr(StagedBatches, "next", killed)
        with pytest.raises(Killed):
            train(config, tmp_path)
    trained = train(config, tmp_path)
    assert (trained.rows, bytes_of(trained)) == uninterrupted[name]


# --- the workflow's script ----------------------------------------------------------------------

SCRIPT = ROOT / "workflow" / "scripts" / "toylang" / "train_toy_run.py"


def run_script(folder, config, run="without_skip-s3"):
    spec = importlib.util.spec_from_file_location("train_toy_run", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.train_toy_run(
        run,
        config,
        3,
        folder / "training.parquet",
        folder / "timing.parquet",
        folder / "checkpoints.safetensors",
        device=CPU,
        bootstrap=BOOTSTRAP,
        provenance={"code": "code"},
    )


def test_the_script_writes_the_same_bytes_again_and_what_the_run_gave(tmp_path, uninterrupted):
    config = config_of(**CONFIGS["delayed"])
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        run_script(tmp_path / name, config)
        assert {p.name for p in (tmp_path / name).iterdir()} == {
            *("training.parquet", "timing.parquet", "checkpoints.safetensors")
        }
    for file in ("training.parquet", "checkpoints.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    table = read_table(tmp_path / "a" / "training.parquet", TRAINING)
    assert set(table["condition"]) == {"without_skip"}
    assert set(table["seed"]) == {3}
    rows, _ = uninterrupted["delayed"]
    assert table["value"].tolist() == [r["value"] for r in rows]
    assert set(table.loc[table["metric"] == "train_loss", "primitive"]) == {"all"}
    timing = read_table(tmp_path / "a" / "timing.parquet", TIMING)
    assert timing["step"].tolist() == sorted(set(table["step"]))
    # The last checkpoint is the model that was evaluated last.
    file = CheckpointFile(tmp_path / "a" / "checkpoints.safetensors")
    assert file.steps == config.training.checkpoint_steps
    model = load_tensor_model(file, 24)
    evaluation = evaluation_of(ToyLanguage(config.language), 24, BOOTSTRAP, CPU)
    again = {r["primitive"]: r for r in evaluation.by_primitive(evaluation.excess(model), "excess")}
    last = table[(table["step"] == 24) & (table["metric"] == "excess")].set_index("primitive")
    assert last["value"].to_dict() == {p: row["value"] for p, row in again.items()}
