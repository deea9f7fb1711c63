"""The language model: loaded as it was saved, batched as one by one, hooked where it says."""

import copy
import json
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2ForCausalLM,
)

from zscope.config.sizes import check_k, check_layer
from zscope.core.errors import CheckpointError, ConfigError, DataError
from zscope.models import language_model as module
from zscope.models.identity import model_digest
from zscope.models.language_model import (
    LanguageModel,
    load_language_model,
    positions,
    read_shape,
    residual_states,
)
from zscope.models.language_model import generate as greedy
from zscope.studies.crosslingual.config import TinyShape
from zscope.studies.crosslingual.problems.parallel import LANGUAGES, generate, load_problems
from zscope.studies.crosslingual.tiny_qwen import build_tiny_qwen, save_tiny_qwen
from zscope.studies.crosslingual.training import completion_loss, encode_problem, make_batch

CPU = torch.device("cpu")
F32 = torch.float32
EN = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def trained():
    """A tiny model that has learnt a few answers: some of its sentences end, some do not."""
    model, tokenizer = build_tiny_qwen(TinyShape(n_layers=3), 0)
    texts = [
        encode_problem(tokenizer, p, language)
        for p in generate(8, 5, held_out=False)
        for language in LANGUAGES
    ]
    batch, optimizer = make_batch(texts, 0, CPU), torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(30):
        completion_loss(model.model, batch).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval(), tokenizer


@pytest.fixture(scope="module")
def folder(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "weights"
    save_tiny_qwen(*trained, path)
    return path


@pytest.fixture(scope="module")
def lm(folder):
    return load_language_model({"tiny": True}, CPU, F32, folder)


@pytest.fixture
def broken(folder, tmp_path):
    """A copy of the folder, to be damaged."""
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def edit(path, *leave, **settings):
    """Set keys of a JSON file, and take some away."""
    plain = json.loads(path.read_text()) if path.exists() else {}
    kept = {key: value for key, value in plain.items() if key not in leave}
    path.write_text(json.dumps({**kept, **settings}))


@pytest.fixture(scope="module")
def prompts():
    problems = generate(16, 6, held_out=True)
    texts = [p.prompt(language) for p in problems for language in LANGUAGES]
    assert len({len(t) for t in texts}) > 5
    return texts


# --- loading ----------------------------------------------------------------------------------


def test_what_is_loaded_is_what_was_saved(lm, trained, folder):
    ids = torch.arange(2, 60)[None]
    with torch.no_grad():
        assert torch.equal(lm.model(ids).logits, trained[0](ids).logits)
        reference = Qwen2ForCausalLM.from_pretrained(folder)
        assert torch.equal(lm.model(ids).logits, reference(ids).logits)
    assert not lm.model.training
    assert not any(p.requires_grad for p in lm.model.parameters())
    assert (lm.n_layers, lm.d_model, lm.n_heads, lm.n_kv, lm.d_head) == (3, 64, 4, 2, 16)
    assert (lm.device, lm.dtype) == (CPU, F32)
    assert re.fullmatch(r"tiny@[0-9a-f]{12}", lm.name)


def test_the_shape_is_read_without_the_weights(lm, folder, broken):
    shape = read_shape({"tiny": True}, folder)
    assert (shape.n_layers, shape.d_model, shape.n_heads) == (lm.n_layers, lm.d_model, lm.n_heads)
    assert (shape.n_kv_heads, shape.d_head, shape.name) == (lm.n_kv, lm.d_head, lm.name)
    assert shape.parameters == sum(p.numel() for p in lm.model.parameters())
    (broken / "model.safetensors").unlink()
    assert read_shape({"path": broken}).parameters == shape.parameters


def test_a_folder_loads_as_the_tiny_model_does(lm, folder):
    """Also with the keys that a config block leaves empty."""
    spec = {"path": str(folder), "tiny": False}
    other = load_language_model(spec, CPU, torch.bfloat16)
    assert other.name == f"{folder}@{model_digest(folder)}"
    assert other.dtype == torch.bfloat16
    ids = torch.arange(2, 30)[None]
    torch.testing.assert_close(
        other.model(ids).logits.float(), lm.model(ids).logits, rtol=0.1, atol=0.1
    )


def test_the_wordlevel_tokenizer_survives(lm, folder, prompts):
    """AutoTokenizer takes the class of the model's type and loses most of a text."""
    assert isinstance(lm.tokenizer, PreTrainedTokenizerFast)
    ids, mask = lm.encode(prompts)
    assert lm.tokenizer.batch_decode(ids, skip_special_tokens=True) == prompts
    wrong = AutoTokenizer.from_pretrained(folder)
    assert len(wrong(prompts[0])["input_ids"]) < int(mask[0].sum())


def test_encoding_pads_on_the_left(lm, prompts):
    ids, mask = lm.encode(prompts)
    assert ids.shape == mask.shape
    assert bool((mask.diff(dim=1) >= 0).all())
    assert bool((mask[:, -1] == 1).all())
    assert torch.equal(ids[mask == 0], torch.zeros_like(ids[mask == 0]))
    for row, kept, text in zip(ids, mask, prompts, strict=True):
        assert row[kept.bool()].tolist() == lm.tokenizer(text)["input_ids"]


def test_a_word_outside_the_vocabulary_is_named(lm):
    text = load_problems()[0].prompt("en")
    with pytest.raises(DataError, match="no token for a piece of one of these 1 texts"):
        lm.encode([text])


def test_a_tokenizer_without_padding_pads_with_the_end(broken):
    edit(broken / "tokenizer_config.json", "pad_token", padding_side="right")
    lm = load_language_model({"path": broken}, CPU, F32)
    ids, mask = lm.encode(["Tom has 1 key.\n", "12"])
    assert ids[1].tolist() == [1] * 6 + [14]
    assert mask[1].tolist() == [0] * 6 + [1]


def without_ends(folder, *files):
    for file in files:
        edit(folder / file, "eos_token", "pad_token", "eos_token_id", "pad_token_id")


@pytest.mark.parametrize(
    "files",
    [
        ["tokenizer_config.json"],
        ["tokenizer_config.json", "generation_config.json"],
        ["tokenizer_config.json", "config.json"],
        ["generation_config.json", "config.json"],
    ],
)
def test_one_file_that_names_the_end_is_enough(broken, lm, prompts, files):
    """What is padded is masked, so states and continuations are those of the whole folder."""
    without_ends(broken, *files)
    other = load_language_model({"path": broken}, CPU, F32)
    assert other.end_tokens == lm.end_tokens == [1]
    assert greedy(other, *other.encode(prompts), 12) == greedy(lm, *lm.encode(prompts), 12)


def test_a_folder_that_names_no_end_is_told_where_to(broken):
    without_ends(broken, "tokenizer_config.json", "generation_config.json", "config.json")
    with pytest.raises(ConfigError) as caught:
        load_language_model({"path": broken}, CPU, F32)
    assert "no token ends a text: neither generation_config.json, config.json" in str(caught.value)
    assert 'add its id to generation_config.json: {"eos_token_id": ...}' in str(caught.value)
    edit(broken / "generation_config.json", eos_token_id=[1, 14])
    assert load_language_model({"path": broken}, CPU, F32).end_tokens == [1, 14]
    edit(broken / "generation_config.json", eos_token_id="<eos>")
    with pytest.raises(ConfigError, match="eos_token_id is '<eos>', not the id of a token"):
        load_language_model({"path": broken}, CPU, F32)
    edit(broken / "generation_config.json", eos_token_id=99999)
    with pytest.raises(ConfigError, match="the tokenizer has no token 99999, which ends a text"):
        load_language_model({"path": broken}, CPU, F32)


def test_tokenizer_json_alone_is_enough(broken, lm, prompts):
    (broken / "tokenizer_config.json").unlink()
    other = load_language_model({"path": broken}, CPU, F32)
    mine, theirs = other.encode(prompts), lm.encode(prompts)
    assert torch.equal(mine[1], theirs[1])
    assert torch.equal(mine[0][mine[1].bool()], theirs[0][theirs[1].bool()])
    assert greedy(other, *mine, 12) == greedy(lm, *theirs, 12)


def test_settings_without_a_class_leave_the_tokenizer_as_it_was_saved(broken, lm, prompts):
    edit(broken / "tokenizer_config.json", "tokenizer_class")
    other = load_language_model({"path": broken}, CPU, F32)
    assert torch.equal(other.encode(prompts)[0], lm.encode(prompts)[0])


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("tokenizer.json", "{}", "its tokenizer cannot be read"),
        ("tokenizer_config.json", "[]", "its tokenizer cannot be read"),
        ("generation_config.json", "{", r"generation_config\.json: cannot be read"),
        ("generation_config.json", "[]", r"generation_config\.json: cannot be read"),
    ],
)
def test_a_damaged_small_file_is_named(broken, file, text, words):
    """transformers would take the end of config.json instead."""
    (broken / file).write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_language_model({"path": broken}, CPU, F32)


def test_a_folder_without_a_tokenizer_is_told_so(broken):
    (broken / "tokenizer.json").unlink()
    (broken / "tokenizer_config.json").unlink()
    with pytest.raises(ConfigError, match=r"no tokenizer \(tokenizer\.json, or"):
        load_language_model({"path": broken}, CPU, F32)


def test_a_tilde_is_the_home_folder(broken, monkeypatch):
    monkeypatch.setenv("HOME", str(broken.parent))
    spec = {"path": f"~/{broken.name}"}
    assert load_language_model(spec, CPU, F32).name.startswith(f"~/{broken.name}@")


def test_a_llama_is_supported_and_its_kernel_weights_are_its_own(broken, trained):
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 297}
    LlamaForCausalLM(LlamaConfig(**shape, **heads)).save_pretrained(broken)
    lm = load_language_model({"path": broken}, CPU, F32)
    weights = lm.attention_weights(1)
    assert (weights.n_heads, weights.n_kv, weights.d_head, weights.d) == (4, 2, 8, 32)
    q = lm.model.model.layers[1].self_attn.q_proj.weight
    assert torch.equal(weights.W_q[2].float(), q[16:24])


def test_generation_settings_of_the_folder_do_not_bend_greedy_choices(broken, lm, prompts):
    settings = GenerationConfig(
        eos_token_id=1, pad_token_id=0, do_sample=True, temperature=9.0, repetition_penalty=5.0
    )
    settings.save_pretrained(broken)
    other = load_language_model({"path": broken}, CPU, F32)
    assert greedy(other, *other.encode(prompts), 8) == greedy(lm, *lm.encode(prompts), 8)


# --- mistakes ---------------------------------------------------------------------------------


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ConfigError, match="nowhere: no such folder"):
        load_language_model({"path": tmp_path / "nowhere"}, CPU, F32)
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        load_language_model({"path": tmp_path}, CPU, F32)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_pickles_are_refused(broken, name):
    (broken / "model.safetensors").unlink()
    (broken / name).write_bytes(b"\x80\x02.")
    with pytest.raises(CheckpointError, match=f"pickles \\({name}\\), which can run any code"):
        load_language_model({"path": broken}, CPU, F32)
    (broken / name).unlink()
    with pytest.raises(CheckpointError, match="no safetensors weights"):
        load_language_model({"path": broken}, CPU, F32)


def test_damaged_weights_are_named(broken):
    file = broken / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="the weights cannot be read"):
        load_language_model({"path": broken}, CPU, F32)


def test_weights_that_lack_a_tensor_are_refused(broken):
    """transformers would draw it at random and go on."""
    tensors = load_file(broken / "model.safetensors")
    tensors.pop("model.layers.1.mlp.up_proj.weight")
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lack 1 tensors, such as model\.layers\.1\.mlp\.up"):
        load_language_model({"path": broken}, CPU, F32)


def test_another_architecture_is_refused(broken):
    file = broken / "config.json"
    plain = json.loads(file.read_text())
    file.write_text(json.dumps({**plain, "architectures": ["GPT2LMHeadModel"]}))
    with pytest.raises(ConfigError, match="GPT2LMHeadModel is not supported; there are Qwen2"):
        load_language_model({"path": broken}, CPU, F32)
    file.write_text("{")
    with pytest.raises(ConfigError, match=r"config\.json: cannot be read"):
        load_language_model({"path": broken}, CPU, F32)


@pytest.mark.parametrize(
    ("file", "settings", "method"),
    [
        ("config.json", {"quantization_config": {"quant_method": "gptq", "bits": 4}}, "gptq"),
        ("config.json", {"quantization_config": {"quant_method": "awq"}}, "awq"),
        ("config.json", {"quantization_config": {"bits": 4}}, "quantization_config"),
        ("config.json", {"quantization": {"bits": 4, "group_size": 64}}, "quantization"),
        ("quantize_config.json", {"bits": 4}, "quantize_config.json"),  # of AutoGPTQ
        ("quant_config.json", {"w_bit": 4}, "quant_config.json"),  # of AutoAWQ
    ],
)
def test_quantised_weights_are_refused_with_the_way_out(broken, file, settings, method):
    edit(broken / file, **settings)
    for load in (read_shape, lambda spec: load_language_model(spec, CPU, F32)):
        with pytest.raises(ConfigError) as caught:
            load({"path": broken})
        assert f"its weights are quantised ({method}), and only plain ones" in str(caught.value)
        assert "take the model that it was made from" in str(caught.value)


def test_a_quantisation_of_null_is_none(broken):
    edit(broken / "config.json", quantization_config=None)
    assert load_language_model({"path": broken}, CPU, F32).n_layers == 3


def test_code_in_the_folder_is_never_run(broken):
    (broken / "evil.py").write_text("raise SystemExit('ran')\n")
    file = broken / "config.json"
    plain = json.loads(file.read_text())
    remote = {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}
    file.write_text(json.dumps({**plain, "auto_map": remote}))
    assert load_language_model({"path": broken}, CPU, F32).n_layers == 3


def test_a_model_that_does_not_fit_is_refused_before_it_is_read(broken, monkeypatch):
    """Qwen2.5-3B by its config alone: 3.09 billion parameters, 13.8 GiB in float32."""
    file = broken / "config.json"
    plain = json.loads(file.read_text()) | {
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "layer_types": ["full_attention"] * 36,
    }
    file.write_text(json.dumps(plain))
    (broken / "model.safetensors").unlink()
    monkeypatch.setattr(module, "free_memory", lambda device: 8 * 2**30)
    with pytest.raises(ConfigError) as caught:
        load_language_model({"path": broken}, CPU, F32)
    message = str(caught.value)
    assert "3.09 billion parameters in float32 need about 13.8 GiB, and 8.0 GiB of CPU" in message
    assert "bfloat16" in message
    assert "smaller model" in message
    with pytest.raises(CheckpointError, match="no safetensors"):  # 6.9 GiB: the next check
        load_language_model({"path": broken}, CPU, torch.bfloat16)


def test_a_gpu_that_is_too_small_is_named(broken, monkeypatch):
    free = {"cpu": 2**40, "cuda": 2**10}
    monkeypatch.setattr(module, "free_memory", lambda device: free[device.type])
    with pytest.raises(ConfigError, match="GiB of GPU memory are free"):
        load_language_model({"path": broken}, torch.device("cuda"), F32)


def test_free_memory_is_what_the_system_says():
    import psutil

    total = psutil.virtual_memory().total
    assert 0 < module.free_memory(CPU) <= total


# --- generation -------------------------------------------------------------------------------


def one_by_one(lm, text, n):
    """The greedy continuation without padding, mask or cache."""
    ids = lm.tokenizer(text, return_tensors="pt")["input_ids"]
    start = ids.shape[1]
    with torch.no_grad():
        while ids.shape[1] < start + n and int(ids[0, -1]) != lm.tokenizer.eos_token_id:
            ids = torch.cat([ids, lm.model(ids).logits[:, -1].argmax(-1, keepdim=True)], 1)
    tokens = ids[0, start:].tolist()
    finished = tokens[-1] == lm.tokenizer.eos_token_id
    return tokens[:-1] if finished else tokens, finished


def test_batched_generation_is_that_of_one_prompt_at_a_time(lm, prompts):
    outputs = greedy(lm, *lm.encode(prompts), 10)
    for text, output in zip(prompts, outputs, strict=True):
        tokens, finished = one_by_one(lm, text, 10)
        assert output.text == lm.tokenizer.decode(tokens)
        assert (output.finished, output.n_tokens) == (finished, len(tokens))
    assert {o.finished for o in outputs} == {True} or len({o.n_tokens for o in outputs}) > 1


def test_a_cut_generation_is_not_finished(lm, prompts):
    outputs = greedy(lm, *lm.encode(prompts), 2)
    assert all(not o.finished and o.n_tokens == 2 for o in outputs)


def test_a_padding_token_that_is_the_end_hides_no_end(lm, prompts):
    """As in Llama: what follows the end in a batch is the end again."""
    other = LanguageModel(copy.deepcopy(lm.model), copy.deepcopy(lm.tokenizer), "other")
    other.tokenizer.pad_token = other.tokenizer.eos_token
    other.model.generation_config.pad_token_id = other.tokenizer.eos_token_id
    assert greedy(other, *other.encode(prompts), 12) == greedy(lm, *lm.encode(prompts), 12)


# --- states -----------------------------------------------------------------------------------


def test_states_are_those_of_transformers_and_the_last_is_before_the_norm(lm, prompts):
    ids, mask = lm.encode(prompts)
    where = positions(mask)
    with torch.no_grad():
        out = lm.model(
            ids, attention_mask=mask, position_ids=where, output_hidden_states=True
        ).hidden_states
    states = residual_states(lm, ids, mask, range(4))
    for layer in range(3):
        assert torch.equal(states[layer], out[layer]), layer
    assert torch.equal(lm.norm(states[3]), out[3])
    assert not torch.allclose(states[3], out[3])


def test_states_of_a_padded_prompt_are_its_own(lm, prompts):
    ids, mask = lm.encode(prompts)
    states = residual_states(lm, ids, mask, [0, 2, 3])
    for row, text in enumerate(prompts):
        alone = residual_states(lm, *lm.encode([text]), [0, 2, 3])
        for layer, state in states.items():
            torch.testing.assert_close(state[row][mask[row].bool()], alone[layer][0], **EN)


def test_hooks_are_gone_afterwards_also_after_an_error(lm, prompts):
    ids, mask = lm.encode(prompts)
    residual_states(lm, ids, mask, range(4))
    with pytest.raises(RuntimeError):
        residual_states(lm, ids, mask[:, :-1], range(4))
    assert not lm.norm._forward_pre_hooks
    assert not any(lm.layer(i)._forward_pre_hooks for i in range(3))


def test_states_are_those_of_transformer_lens(lm, prompts):
    from transformer_lens.model_bridge.sources import build_bridge_from_module

    bridge = build_bridge_from_module(
        copy.deepcopy(lm.model),
        "Qwen2ForCausalLM",
        hf_config=copy.deepcopy(lm.model.config),
        tokenizer=None,
    )
    ids, mask = lm.encode(prompts[:1])
    states = residual_states(lm, ids, mask, range(4))
    with torch.no_grad():
        logits, cache = bridge.run_with_cache(ids)
    for layer in range(3):
        torch.testing.assert_close(cache[f"blocks.{layer}.hook_resid_pre"], states[layer], **EN)
    torch.testing.assert_close(cache["blocks.2.hook_resid_post"], states[3], **EN)
    torch.testing.assert_close(logits, lm.model(ids).logits, **EN)


def test_positions_count_from_the_first_real_token():
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    assert positions(mask).tolist() == [[0, 0, 0, 1], [0, 1, 2, 3]]


# --- layers and k -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "n_layers", "index"),
    [(0, 4, 0), (3, 4, 3), (0.0, 4, 0), (0.5, 4, 2), (0.75, 4, 3), (0.89, 36, 32), (32, 36, 32)],
)
def test_a_layer_is_an_index_or_a_share_of_the_depth(layer, n_layers, index):
    assert check_layer(layer, n_layers) == index


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))))
def test_a_layer_over_the_depth_is_that_layer(pair):
    layer, n_layers = pair
    assert check_layer(layer / n_layers, n_layers) == layer


@pytest.mark.parametrize("layer", [-1, 4, 1.0, -0.1, float("nan"), float("inf"), True, "2"])
def test_a_layer_that_is_not_there_is_an_error(layer):
    with pytest.raises(ConfigError, match=f"layer {layer!r}"):
        check_layer(layer, 4)


@pytest.mark.parametrize(
    ("k", "bound", "size"),
    [
        (50, 256, 50),
        (0.195, 256, 50),
        (0.078, 256, 20),
        (1.0, 32, 32),
        (0.001, 32, 1),
        (32, 32, 32),
    ],
)
def test_k_is_a_number_or_a_share(k, bound, size):
    assert check_k(k, bound) == size


@pytest.mark.parametrize("k", [0, 33, -1, 0.0, 1.01, float("nan"), True, None])
def test_a_k_that_z_cannot_have_is_an_error(k):
    with pytest.raises(ConfigError, match=f"k {k!r}"):
        check_k(k, 32)
