"""The map (B, z) -> A is what the config says, and its sequences say so character by character."""

import itertools
from functools import partial

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from zscope.core.errors import DataError
from zscope.studies.lag.facts import (
    BOS,
    EOS,
    SEP,
    encode,
    make_facts,
    make_layout,
    make_vocabulary,
    other_z,
    sample_rows,
)
from zscope.studies.lag.run_config import DataConfig

SMALL = {
    "n_unique_b": 12,
    "k": 3,
    "b_length": 3,
    "a_length": 3,
    "z_length": 2,
    "alphabet": "abcdef",
}
TASKS = ("bz_to_a", "az_to_b", "b_to_a", "a_to_b")


def config(**values):
    return DataConfig(**{**SMALL, **values})


def data_of(settings_, seed=0):
    return encode(make_facts(settings_, seed), settings_)


@st.composite
def configs(draw):
    """Small possible configs of every task, code and unit."""
    code = draw(st.sampled_from(["random", "parity"]))
    k = draw(st.sampled_from([2, 4]) if code == "parity" else st.integers(1, 6))
    order = draw(st.integers(1, 2))
    unit = draw(st.sampled_from(["characters", "token"]))
    values = {
        "task": draw(st.sampled_from(TASKS)),
        "k": k,
        "n_unique_b": draw(st.integers(1, 20)),
        "b_unit": unit,
        "b_length": 1 if unit == "token" else draw(st.integers(2, 20)),
        "a_length": draw(st.integers(1, 15)),
        "z_length": draw(st.integers(4, 5)) if code == "parity" else draw(st.integers(2, 3)),
        "z_code": code,
        "z_order": order if code == "parity" else 1,
        "alphabet": draw(st.sampled_from(["abcdef", "<b0>eosapd", "01", "abc012"])),
        "unique_first_char": draw(st.booleans()),
        "probe_fraction": draw(st.sampled_from([0.0, 0.3])),
        "split_by_base": draw(st.booleans()),
    }
    try:
        return DataConfig(**values)
    except ValidationError:
        assume(False)


# --- facts ------------------------------------------------------------------------------------


@settings(max_examples=80)
@given(configs(), st.integers(0, 2**31))
def test_the_facts_are_a_map_with_k_targets_a_base(c, seed):
    facts = make_facts(c, seed)
    assert len(facts) == c.n_rows
    pairs = facts.drop_duplicates(["base", "candidate"])
    assert len(pairs) == c.n_bases * c.k
    assert pairs["a"].nunique() == len(pairs)  # an A belongs to one B and one index, everywhere
    assert facts.groupby("base")["b"].nunique().eq(1).all()
    assert facts["b"].nunique() == c.n_bases
    assert facts.groupby(["base", "candidate"])["a"].nunique().eq(1).all()
    assert pairs["a"].str.len().eq(c.a_length).all()
    assert set("".join(pairs["a"])) <= set(c.alphabet)
    if c.b_unit == "characters":
        assert facts["b"].str.len().eq(c.b_length).all()
    if c.unique_first_char:
        firsts = pairs.assign(first=pairs["a"].str[0]).groupby("base")["first"].nunique()
        assert firsts.eq(c.k).all()
    if c.has_z:
        # Every z serves every B, and means the same index there.
        assert facts.groupby("base")["z"].apply(lambda z: tuple(sorted(z))).nunique() == 1
        assert facts["z"].nunique() == c.n_z == facts["z_index"].nunique()
        assert facts.groupby("z")["candidate"].nunique().eq(1).all()
        assert facts.groupby("z")["z_index"].nunique().eq(1).all()
        assert facts["z"].str.len().eq(c.z_length).all()
    else:
        assert facts["z"].eq("").all()
        assert facts["z_index"].eq(-1).all()


def slow_parity(z, k, order):
    """Bit j of the target's index is the parity of the j-th group of `order` characters of z."""
    index, n_bits = 0, {2: 1, 4: 2, 8: 3}[k]
    for j in range(n_bits):
        ones = 0
        for i in range(order):
            if z[j * order + i] == "1":
                ones += 1
        if ones in (1, 3, 5, 7):
            index += 2**j
    return index


@pytest.mark.parametrize(
    ("k", "order", "length"),
    [(2, 1, 4), (2, 2, 4), (2, 3, 4), (2, 4, 4), (4, 1, 4), (4, 2, 4), (4, 2, 5), (8, 1, 3)],
)
def test_a_parity_code_lists_every_string_and_is_its_slow_definition(k, order, length):
    c = config(k=k, z_code="parity", z_order=order, z_length=length, alphabet="abcdefgh")
    facts = make_facts(c, 3)
    codes = facts[facts["base"] == 0].set_index("z")["candidate"].to_dict()
    assert sorted(codes) == ["".join(s) for s in itertools.product("01", repeat=length)]
    assert codes == {z: slow_parity(z, k, order) for z in codes}
    assert np.bincount(list(codes.values())).tolist() == [2**length // k] * k


def test_characters_outside_the_groups_do_not_matter():
    c = config(k=2, z_code="parity", z_order=2, z_length=4)
    codes = make_facts(c, 0).drop_duplicates("z").set_index("z")["candidate"]
    assert all(codes[z] == codes[z[:2] + "00"] for z in codes.index)


def test_the_code_of_z_changes_nothing_else():
    """The headline's claim: runs of one seed differ only in how hard z is to decode."""
    wanted = None
    for order in (1, 2, 3, 4):
        facts = make_facts(config(k=2, z_code="parity", z_order=order, z_length=4), 7)
        found = facts.drop_duplicates(["base", "candidate"]).sort_values(["base", "candidate"])
        found = found[["base", "candidate", "b", "a"]].to_numpy().tolist()
        assert wanted is None or found == wanted
        wanted = found
        assert len(facts) == 12 * 16
    random = make_facts(config(k=2, z_length=4), 7).sort_values(["base", "candidate"])
    assert random[["base", "candidate", "b", "a"]].to_numpy().tolist() == wanted
    for task in TASKS:
        assert set(make_facts(config(k=2, task=task), 7)["a"]) == {row[3] for row in wanted}


def test_a_seed_is_reproduced_and_another_differs():
    assert make_facts(config(), 5).equals(make_facts(config(), 5))
    other = make_facts(config(), 6)
    for column in ("b", "a", "z"):
        assert set(make_facts(config(), 5)[column]) != set(other[column])


def test_targets_are_found_when_half_of_all_strings_are_used():
    c = config(n_unique_b=18, k=6, a_length=3, alphabet="abcdef")  # 108 of 216
    for seed in range(5):
        assert make_facts(c, seed)["a"].nunique() == 108


# --- sequences --------------------------------------------------------------------------------


def decoded(data, ids):
    return "".join(data.vocabulary.tokens[i] for i in ids)


@settings(max_examples=60)
@given(configs(), st.integers(0, 1000))
def test_sequences_decode_to_the_strings_of_the_facts(c, seed):
    facts = make_facts(c, seed)
    data = encode(facts, c)
    decode, layout = partial(decoded, data), data.layout
    spelled = c.task in ("bz_to_a", "b_to_a") or c.b_unit == "characters"
    firsts = {data.vocabulary.ids[t] for t in (c.alphabet if spelled else facts["b"])}
    assert len(firsts) == c.n_first_tokens
    for row, fact in enumerate(facts.to_dict("records")):
        source, target = (fact["b"], fact["a"])
        if c.task in ("az_to_b", "a_to_b"):
            source, target = target, source
        z = fact["z"] + SEP if c.has_z else ""
        tokens = data.tokens[row]
        assert decode(tokens) == f"{BOS}{source}{SEP}{z}{target}{EOS}"
        assert decode(tokens[layout.source]) == source
        assert decode(tokens[layout.target]) == target + EOS
        assert decode([tokens[layout.predict]]) == SEP
        assert layout.predict == layout.target.start - 1
        assert layout.target.stop == layout.length == len(tokens)
        if layout.z is None:
            assert not data.has_z
        else:
            assert decode(tokens[layout.z]) == fact["z"]
            assert (data.z_tokens[fact["z_index"]] == tokens[layout.z]).all()
            assert data.z_candidate[fact["z_index"]] == fact["candidate"]
        assert tokens[layout.target.start] in firsts
        right = data.candidates[data.base[row], data.right[row]]
        assert (right == tokens[layout.target]).all()
    assert data.candidates.shape[1] == c.n_candidates
    assert (np.asarray(data.train) == (facts["split"] == "train")).all()


def test_candidates_are_the_targets_that_the_source_leaves_open():
    for task in TASKS:
        c = config(task=task)
        facts, data = make_facts(c, 1), data_of(c, 1)
        for base, part in facts.groupby("base"):
            found = {decoded(data, t).removesuffix(EOS) for t in data.candidates[base]}
            assert found == set(part["a" if task in ("bz_to_a", "b_to_a") else "b"])


def test_an_answer_spelled_like_a_token_is_read_as_characters():
    c = config(b_unit="token", b_length=1, alphabet="<b0>", a_length=4, n_unique_b=40, k=3)
    facts = make_facts(c, 0)
    facts.loc[facts["a"] == facts["a"].iloc[0], "a"] = "<b0>"
    data = encode(facts, c)
    assert data.tokens.shape == (120, make_layout(c).length)
    assert [data.vocabulary.tokens[i] for i in data.tokens[0, data.layout.target]] == [*"<b0>", EOS]


def test_the_vocabulary_has_each_token_once_and_the_same_for_every_order():
    vocabularies = {
        make_vocabulary(config(k=2, z_code="parity", z_order=m, z_length=4)).tokens
        for m in (1, 2, 3, 4)
    }
    (tokens,) = vocabularies
    assert len(set(tokens)) == len(tokens)


# --- splits, samples, another z ---------------------------------------------------------------


def test_split_by_base_holds_out_whole_bases():
    facts = make_facts(config(probe_fraction=0.25, split_by_base=True), 2)
    held = facts[facts["split"] == "held_out"]
    assert held["base"].nunique() == 3
    assert not set(held["base"]) & set(facts.loc[facts["split"] == "train", "base"])


def test_split_by_row_holds_out_that_share_of_rows():
    facts = make_facts(config(probe_fraction=0.25, split_by_base=False), 2)
    assert (facts["split"] == "held_out").sum() == 9
    assert facts.loc[facts["split"] == "held_out", "base"].nunique() > 3


def test_samples_are_distinct_rows_of_their_split():
    data = data_of(config(probe_fraction=0.25))
    rng = np.random.default_rng(0)
    for split, n in (("train", 10), ("held_out", 4), ("train", 10**6)):
        rows = sample_rows(data, n, rng, split)
        assert len(set(rows)) == len(rows) == min(n, len(data.rows(split)))
        assert set(rows) <= set(data.rows(split))


@settings(max_examples=60)
@given(configs(), st.integers(0, 1000))
def test_another_z_names_another_target_and_keeps_all_else(c, seed):
    data = data_of(c, seed)
    rows = np.arange(len(data.tokens))
    rng = np.random.default_rng(seed)
    if not c.has_z or c.k == 1:
        assert not data.can_swap_z
        with pytest.raises(DataError, match="no other z"):
            other_z(data, rows, rng)
        return
    tokens, other = other_z(data, rows, rng)
    assert (other != data.candidate).all()
    meaning = {tuple(z): i for z, i in zip(data.z_tokens, data.z_candidate, strict=True)}
    assert [meaning[tuple(z)] for z in tokens[:, data.layout.z]] == other.tolist()
    rest = np.ones(data.layout.length, bool)
    rest[data.layout.z] = False
    assert (tokens[:, rest] == data.tokens[:, rest]).all()
    assert (data_of(c, seed).tokens == data.tokens).all()  # the data were not written into


def test_another_z_is_every_other_z_equally_often():
    data = data_of(config(k=4, z_code="parity", z_order=2, z_length=4))
    rows = np.repeat(data.rows("train")[:1], 12_000)
    tokens, _ = other_z(data, rows, np.random.default_rng(0))
    _, counts = np.unique(tokens[:, data.layout.z], axis=0, return_counts=True)
    assert len(counts) == 12
    assert np.abs(counts / 1000 - 1).max() < 0.15


# --- what cannot be ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"n_unique_b": 217}, ["217", "216"]),
        ({"n_unique_b": 100}, ["600", "216"]),
        ({"k": 7}, ["at least 7", "has 6"]),
        ({"z_length": 1, "z_alphabet": "ab"}, ["3 distinct z", "2**1"]),
        ({"z_code": "parity"}, ["power of 2"]),
        ({"z_code": "parity", "k": 4, "z_order": 3, "z_length": 4}, ["2 * 3", "4"]),
        ({"b_unit": "token"}, ["token"]),
        ({"design": "fixed_facts"}, ["fixed_facts"]),
        ({"design": "fixed_facts", "n_facts": 10}, ["multiple of k 3"]),
        ({"alphabet": "aab"}, ["repeats", "aab"]),
        ({"probe_fraction": 0.01}, ["12 bases"]),
    ],
)
def test_what_cannot_be_is_said_with_its_numbers(values, parts):
    with pytest.raises(ValidationError) as caught:
        config(**values)
    for part in parts:
        assert part in str(caught.value)


def test_facts_of_another_config_are_refused():
    facts = make_facts(config(), 0)
    with pytest.raises(DataError, match=r"36 rows; this config has 48"):
        encode(facts, config(k=4))
    with pytest.raises(DataError, match="no token 'f'"):
        encode(facts, config(alphabet="abcde"))
    with pytest.raises(DataError, match="sequences of 12 tokens; this config has 13"):
        encode(facts, config(a_length=4))
    facts.loc[0, "a"] = "ab"
    with pytest.raises(DataError, match=r"lengths \[2, 3\]"):
        encode(facts, config())


def test_fixed_facts_divides_the_facts_among_the_bases():
    c = config(design="fixed_facts", n_facts=36, k=6)
    assert len(make_facts(c, 0)) == 36
    assert make_facts(c, 0)["base"].nunique() == 6
