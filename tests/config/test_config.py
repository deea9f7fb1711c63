"""A mistake in a configuration becomes one line that says which key, what is allowed, and where."""

import copy
import re

import pytest
import yaml

from zscope.config.yaml_files import dotted
from zscope.core.errors import ConfigError
from zscope.studies.config import Config, load
from zscope.studies.lag.run_config import DataConfig, RunConfig, TrainingConfig
from zscope.studies.lag.study import LagPlan

BASE = """
device: cpu
models: {saved: {path: some/folder}}
lag:
  run:
    data: {k: 2, n_unique_b: 40, a_length: 3, z_length: 4}
    training: {steps: 100, warmup_steps: 10}
  sweeps:
    first: {seeds: [0, 1], grid: {data.k: [1, 2]}}
    second: {seeds: [0], data: {z_code: parity}}
  figures: {k_sweep: first}
"""

# What the second file says, the key that is to blame, and what the message must hold.
DAMAGED = {
    # Unknown keys, at every level.
    "top": ("devise: cpu", "devise", "unknown key; did you mean device?"),
    "top far off": ("colour: red", "colour", "the keys here are: device, bootstrap, "),
    "study": ("lag: {sweep: {}}", "lag.sweep", "did you mean sweeps?"),
    "bootstrap": ("bootstrap: {resample: 9}", "bootstrap.resample", "did you mean resamples?"),
    "run": ("lag: {run: {datas: {}}}", "lag.run.datas", "did you mean data?"),
    "data": ("lag: {run: {data: {n_uniqe_b: 9}}}", "lag.run.data.n_uniqe_b", "n_unique_b?"),
    "data kk": ("lag: {run: {data: {kk: 9}}}", "lag.run.data.kk", "did you mean k?"),
    "model": ("lag: {run: {model: {layers: 2}}}", "lag.run.model.layers", "n_layers?"),
    "training": ("lag: {run: {training: {LR: 1}}}", "lag.run.training.LR", "unknown key"),
    "sweep": ("lag: {sweeps: {first: {sedes: [0]}}}", "lag.sweeps.first.sedes", "seeds?"),
    "sweep data": (
        "lag: {sweeps: {second: {data: {kk: 2}}}}",
        "lag.sweeps.second.data.kk",
        "did you mean k?; in sweep second",
    ),
    "probes": ("lag: {probes: {name: []}}", "lag.probes.name", "did you mean names?"),
    "linear": ("lag: {linear: {dims: 3}}", "lag.linear.dims", "did you mean dim?"),
    "onset": (
        "lag: {onset: {metrics: {z_gap: {abov: 1}}}}",
        "lag.onset.metrics.z_gap.abov",
        "did you mean above?",
    ),
    "onset of a probe": (
        "lag: {onset: {probes: {random_zz: {above: 1}}}}",
        "lag.onset.probes.random_zz",
        "did you mean random_z?",
    ),
    "figure": ("lag: {figures: {ksweep: first}}", "lag.figures.ksweep", "did you mean k_sweep?"),
    "a number as a key": ("lag: {run: {data: {1: 2}}}", "lag.run.data.1", "unknown key"),
    # Wrong types.
    "device": ("device: gpu", "device", "one of auto, cpu, cuda, mps, not 'gpu'"),
    "text for a number": ("lag: {run: {training: {lr: x}}}", "lag.run.training.lr",
                          "must be a number, not 'x'"),
    "text for an integer": ("lag: {run: {data: {k: two}}}", "lag.run.data.k",
                            "must be a whole number, not 'two'"),
    "a fraction for an integer": ("lag: {run: {training: {steps: 10.5}}}",
                                  "lag.run.training.steps", "must be a whole number, not 10.5"),
    "true for an integer": ("lag: {run: {training: {steps: true}}}", "lag.run.training.steps",
                            "must be a number, not true"),
    "true for a number": ("lag: {run: {training: {lr: true}}}", "lag.run.training.lr",
                          "must be a number, not true"),
    "true for an optional integer": ("lag: {run: {data: {n_facts: true}}}",
                                     "lag.run.data.n_facts", "must be a number, not true"),
    "true for a seed": ("lag: {sweeps: {first: {seeds: [true]}}}", "lag.sweeps.first.seeds",
                        "must be a number"),
    "text for a flag": ("lag: {run: {data: {unique_first_char: 'yes'}}}",
                        "lag.run.data.unique_first_char", "must be true or false, not 'yes'"),
    "1 for a flag": ("lag: {run: {data: {split_by_base: 1}}}", "lag.run.data.split_by_base",
                     "must be true or false, not 1"),
    "number for text": ("lag: {run: {data: {z_alphabet: 01}}}", "lag.run.data.z_alphabet",
                        "must be text (in quotes"),
    "number for a list": ("lag: {sweeps: {first: {seeds: 3}}}", "lag.sweeps.first.seeds",
                          "must be a list, such as [0, 1], not 3"),
    "text for a list": ("lag: {probes: {names: logit_lens}}", "lag.probes.names",
                        "must be a list, such as [a, b], not 'logit_lens'"),
    "list for a block": ("lag: {run: {data: [k, 2]}}", "lag.run.data",
                         "must be a block of keys, not ['k', 2]"),
    "list for the sweeps": ("lag: {sweeps: [first]}", "lag.sweeps", "must be a block of keys"),
    "list for a sweep": ("lag: {sweeps: {first: [0]}}", "lag.sweeps.first",
                         "must be a block of keys, not [0]"),
    "block for a list": ("lag: {sweeps: {first: {grid: {data.k: {a: 1}}}}}",
                         "lag.sweeps.first.grid.data.k", "must be a list"),
    "block for a number": ("lag: {run: {training: {lr: {a: 1}}}}", "lag.run.training.lr",
                           "must be a number, not {'a': 1}"),
    "scalar for the study": ("lag: 3", "lag", "must be a block of keys, not 3"),
    "null for a block": ("lag: {run: {training: }}", "lag.run.training", "not null"),
    "null for the sweeps": ("lag: {sweeps: }", "lag.sweeps", "not null"),
    "null for a sweep's data": ("lag: {sweeps: {first: {data: }}}", "lag.sweeps.first.data",
                                "not null"),
    "null for a number": ("lag: {run: {data: {k: }}}", "lag.run.data.k",
                          "must be a whole number, not null"),
    # Out of bounds.
    "lr 0": ("lag: {run: {training: {lr: 0}}}", "lag.run.training.lr", "must be above 0, not 0"),
    "lr nan": ("lag: {run: {training: {lr: .nan}}}", "lag.run.training.lr", "finite number, not"),
    "lr inf": ("lag: {run: {training: {lr: .inf}}}", "lag.run.training.lr", "finite number, not"),
    "beta 1": ("lag: {run: {training: {beta2: 1}}}", "lag.run.training.beta2", "below 1, not 1"),
    "k 0": ("lag: {run: {data: {k: 0}}}", "lag.run.data.k", "must be at least 1, not 0"),
    "no heads": ("lag: {run: {model: {n_heads: 0}}}", "lag.run.model.n_heads", "at least 1, not 0"),
    "many layers": ("lag: {run: {model: {n_layers: 65}}}", "lag.run.model.n_layers", "at most 64"),
    "level": ("bootstrap: {level: 95}", "bootstrap.level", "must be below 1, not 95"),
    "negative seed": ("lag: {sweeps: {first: {seeds: [0, -1]}}}", "lag.sweeps.first.seeds[1]",
                      "must be at least 0, not -1"),
    "negative seed of a run": ("lag: {run: {init_seed: -1}}", "lag.run.init_seed", "at least 0"),
    "one letter": ("lag: {run: {data: {alphabet: a}}}", "lag.run.data.alphabet",
                   "at least 2 characters, not 'a'"),
    # Nothing.
    "empty sweep": ("lag: {sweeps: {third: {}}}", "lag.sweeps.third.seeds", "is missing"),
    "no seeds": ("lag: {sweeps: {first: {seeds: []}}}", "lag.sweeps.first.seeds",
                 "must not be empty"),
    "no values": ("lag: {sweeps: {first: {grid: {data.k: []}}}}", "lag.sweeps.first.grid.data.k",
                  "must not be empty"),
    "every sweep taken away": ("lag: {sweeps: {first: , second: }}", "lag.sweeps",
                               "every sweep is null: nothing to run"),
    # Twice.
    "seed twice": ("lag: {sweeps: {first: {seeds: [0, 1, 0]}}}", "lag.sweeps.first.seeds",
                   "repeats a seed: [0, 1, 0]"),
    "value twice": ("lag: {sweeps: {first: {grid: {data.k: [1, 1]}}}}", "lag.sweeps.first.grid",
                    "data.k repeats a value: [1, 1]"),
    "number spelt twice": ("lag: {sweeps: {first: {grid: {training.lr: [1e-3, 0.001]}}}}",
                           "lag.sweeps.first.grid", "training.lr repeats a value"),
    "letter twice": ("lag: {run: {data: {alphabet: abca}}}", "lag.run.data.alphabet",
                     "repeats a character: 'abca'"),
    "z letter twice": ("lag: {run: {data: {z_alphabet: '010'}}}", "lag.run.data.z_alphabet",
                       "repeats a character: '010'"),
    "white space": ("lag: {run: {data: {alphabet: 'ab c'}}}", "lag.run.data.alphabet",
                    "holds white space: 'ab c'"),
    # Grid keys.
    "grid key without a block": ("lag: {sweeps: {first: {grid: {k: [1]}}}}",
                                 "lag.sweeps.first.grid.k", "did you mean data.k?"),
    "grid key of no block": ("lag: {sweeps: {first: {grid: {foo.k: [1]}}}}",
                             "lag.sweeps.first.grid.foo.k", "must be data., model. or training."),
    "grid key of a block": ("lag: {sweeps: {first: {grid: {data: [1]}}}}",
                            "lag.sweeps.first.grid.data", "a key of that block"),
    "unknown grid key": ("lag: {sweeps: {first: {grid: {data.kk: [1]}}}}",
                         "lag.sweeps.first.grid.data.kk", "unknown key; did you mean k?"),
    "grid value": ("lag: {sweeps: {first: {grid: {data.k: [1, x]}}}}",
                   "lag.sweeps.first.grid.data.k", "not 'x'; in sweep first at k x"),
    "null in a grid": ("lag: {sweeps: {first: {grid: {training.lr: [null]}}}}",
                       "lag.sweeps.first.grid.training.lr", "must be a number, not null"),
    # Keys that do not go together.
    "heads": ("lag: {run: {model: {n_heads: 3}}}", "lag.run.model.d_model",
              "128 is not divisible by n_heads 3"),
    "warm-up": ("lag: {run: {training: {warmup_steps: 100}}}", "lag.run.training.warmup_steps",
                "100 is not below steps 100"),
    "warm-up of another file": ("lag: {run: {training: {steps: 5}}}",
                                "lag.run.training.warmup_steps", "10 is not below steps 5"),
    "more targets than letters": ("lag: {run: {data: {k: 40}}}", "lag.run.data.k",
                                  "40 targets * it has 36"),
    "in a grid": ("lag: {sweeps: {first: {grid: {data.k: [1, 40]}}}}",
                  "lag.sweeps.first.grid.data.k", "it has 36 * in sweep first at k 40"),
    "in a sweep": ("lag: {sweeps: {second: {data: {k: 64, z_code: random}}}}",
                   "lag.sweeps.second.data.k", "64 targets * it has 36"),
    "too few B": ("lag: {run: {data: {n_unique_b: 99, b_length: 1}}}", "lag.run.data.b_length",
                  "99 distinct B * 36**1 = 36 strings"),
    "too few A": ("lag: {run: {data: {a_length: 1}}}", "lag.run.data.a_length",
                  "160 distinct A * 36**1 = 36 strings"),
    "too few z": ("lag: {run: {data: {k: 5, z_alphabet: xy, z_length: 2}}}",
                  "lag.run.data.z_length", "5 distinct z * 2**2 = 4 strings"),
    "token of 2 characters": ("lag: {run: {data: {b_unit: token, b_length: 2}}}",
                              "lag.run.data.b_length", "must be 1 with b_unit: token, not 2"),
    "fixed facts without facts": ("lag: {run: {data: {design: fixed_facts}}}",
                                  "lag.run.data.n_facts", "needed by design: fixed_facts"),
    "not a multiple": ("lag: {run: {data: {design: fixed_facts, n_facts: 101}}}",
                       "lag.run.data.n_facts", "101 is not a multiple of k 2"),
    "parity of 3": ("lag: {sweeps: {second: {data: {k: 3}}}}", "lag.sweeps.second.data.k",
                    "power of 2, from 2 on, not 3"),
    "parity of 1": ("lag: {sweeps: {second: {data: {k: 1}}}}", "lag.sweeps.second.data.k",
                    "power of 2, from 2 on, not 1"),
    "parity of too high an order": ("lag: {sweeps: {second: {grid: {data.z_order: [1, 5]}}}}",
                                    "lag.sweeps.second.grid.data.z_order",
                                    "1 * 5 = 5 characters of z; z_length is 4"),
    "parity of a long z": ("lag: {sweeps: {second: {data: {z_length: 17}}}}",
                           "lag.sweeps.second.data.z_length", "at most 16, not 17"),
    "nothing held out": ("lag: {run: {data: {probe_fraction: 0.01}}}",
                         "lag.run.data.probe_fraction", "0.01 of 40 bases holds out 0"),
    "nothing to train on": ("lag: {run: {data: {probe_fraction: 0.99}}}",
                            "lag.run.data.probe_fraction", "nothing to train on"),
    "held out of nothing": ("lag: {probes: {split: held_out}}", "lag.probes.split",
                            "data.probe_fraction is 0 in sweep first"),
    "above and below": ("lag: {onset: {metrics: {z_gap: {above: 1, below: 2}}}}",
                        "lag.onset.metrics.z_gap", "exactly one of above and below"),
    "neither above nor below": ("lag: {onset: {metrics: {z_gap: {scale: none}}}}",
                                "lag.onset.metrics.z_gap", "exactly one of above and below"),
    # Probes and figures.
    "unknown probe": ("lag: {sweeps: {first: {probes: [attention]}}}",
                      "lag.sweeps.first.probes[0]", "attention_to_z, logit_lens"),
    "probe without z": ("lag: {sweeps: {first: {data: {task: b_to_a}, probes: [attention_to_z]}}}",
                        "lag.sweeps.first.probes", "attention_to_z needs a task with z, which no"),
    "probe of one target": (
        "lag: {sweeps: {first: {data: {task: az_to_b}, probes: [candidate_set]}}}",
        "lag.sweeps.first.probes", "candidate_set needs at least 2 targets of one source"),
    "probe at k 1": ("lag: {sweeps: {first: {grid: {data.k: [1]}, probes: [random_z]}}}",
                     "lag.sweeps.first.probes", "random_z needs a task with z and k of at least 2"),
    "figure of no sweep": ("lag: {figures: {k_sweep: frist}}", "lag.figures.k_sweep",
                           "no sweep 'frist'; did you mean first?"),
    "figure of a null sweep": ("lag: {sweeps: {second: }, figures: {k_sweep: second}}",
                               "lag.figures.k_sweep", "sweep second is null"),
    # Names that become paths.
    "name with dots": ("lag: {sweeps: {../x: {seeds: [0]}}}", "lag.sweeps.'../x'", "sweep's name"),
    "name with a space": ("lag: {sweeps: {a b: {seeds: [0]}}}", "lag.sweeps.'a b'", "lower-case"),
    "name in capitals": ("lag: {sweeps: {A: {seeds: [0]}}}", "lag.sweeps.A", "lower-case letters"),
    "name from a digit on": ("lag: {sweeps: {1a: {seeds: [0]}}}", "lag.sweeps.1a", "letter first"),
    "name that is a number": ("lag: {sweeps: {7: {seeds: [0]}}}", "lag.sweeps.7", "letter first"),
    "no name": ("lag: {sweeps: {'': {seeds: [0]}}}", "lag.sweeps.''", "lower-case letters"),
    "name with a newline": ('lag: {sweeps: {"a\\n": {seeds: [0]}}}', "lag.sweeps.'a\\n'", "name"),
    "long name": (f"lag: {{sweeps: {{{'a' * 65}: {{seeds: [0]}}}}}}", "lag.sweeps." + "a" * 65,
                  "64 at most"),
    "null sweep with a bad name": ("lag: {sweeps: {a/b: }}", "lag.sweeps.'a/b'", "lower-case"),
    # The cross-lingual study.
    "no such model": ("crosslingual: {models: [large]}", "crosslingual.models",
                      "no model large; there are tiny, saved. * models: {large: {path: folder}}"),
    "no such model of weights": ("crosslingual: {weights_only: [large]}",
                                 "crosslingual.weights_only", "no model large; there are tiny"),
    "a model twice": ("crosslingual: {models: [tiny, tiny]}", "crosslingual.models",
                      "repeats a name: ['tiny', 'tiny']"),
    "no models": ("crosslingual: {models: []}", "crosslingual.models", "must not be empty"),
    "tiny by its weights alone": ("crosslingual: {weights_only: [tiny]}",
                                  "crosslingual.weights_only", "tiny belongs in models"),
    "a model in both lists": ("crosslingual: {models: [saved], weights_only: [saved]}",
                              "crosslingual.weights_only", "saved belongs in models"),
    # The keys of before.
    "old path": ("crosslingual: {model: {path: X}}", "crosslingual.model",
                 "write models: {mine: {path: X}} and crosslingual.models: [mine]"),
    "old hub": ("crosslingual: {model: {hub: a/b, revision: c, tiny: false}}", "crosslingual.model",
                "write models: {mine: {hub: a/b, revision: c}} and crosslingual.models: [mine]"),
    "old tiny": ("crosslingual: {model: tiny}", "crosslingual.model",
                 "write crosslingual.models: [tiny]"),
    "old block of tiny": ("crosslingual: {model: {tiny: true}}", "crosslingual.model",
                          "write crosslingual.models: [tiny]"),
    "old word": ("crosslingual: {model: large}", "crosslingual.model",
                 "write models: {mine: {path: large}} and crosslingual.models: [mine]"),
    "old dtype": ("crosslingual: {dtype: bfloat16}", "crosslingual.dtype",
                  "write models: {mine: {..., dtype: bfloat16}} at the top level"),
    # Named models.
    "two sources": ("models: {mine: {hub: a/b, revision: c, path: x}}", "models.mine",
                    "exactly one, not hub and path"),
    "study and path": ("models: {mine: {study: crosslingual/tiny-s0, path: x}}", "models.mine",
                       "exactly one, not study and path"),
    "a run in one word": ("models: {mine: {study: tiny-s0}}", "models.mine.study",
                          "is no study/run: 'tiny-s0'; one is crosslingual/tiny-s0"),
    "a run that leads elsewhere": ("models: {mine: {study: crosslingual/../x}}",
                                   "models.mine.study", "is no study/run"),
    "a seed that is not trained": (
        "models: {mine: {study: crosslingual/tiny-s7}}\n"
        "crosslingual: {models: [tiny], seeds: [0, 1]}",
        "models", "mine.study: crosslingual/tiny-s7 is no model that this config trains; there are "
                  "crosslingual/tiny-s0, crosslingual/tiny-s1. Give one of them"),
    "a run of a config that trains none": (
        "models: {mine: {study: crosslingual/tiny-s0}, saved: {path: x}}\n"
        "crosslingual: {models: [saved]}",
        "models", "there are none. Give one of them, or train it: crosslingual: {models: [tiny]"),
    "a run of lag": ("models: {mine: {study: lag/abc}}\nlag: {}", "models",
                     "Runs of lag are no Hugging Face models"),
    "no source": ("models: {mine: {}}", "models.mine", "exactly one, not none"),
    "a folder in one word": ("models: {mine: /data/x y}", "models.mine",
                             "write {path: /data/x y}"),
    "a hub model in one word": ("models: {mine: Qwen/Qwen2.5-3B}", "models.mine",
                                "write {revision: commit, hub: Qwen/Qwen2.5-3B}"),
    "a package in one word": ("models: {mine: a==1.0}", "models.mine", "write {package: a==1.0}"),
    "hub without revision": ("models: {mine: {hub: Qwen/Qwen2.5-3B}}", "models.mine.revision",
                             "goes with hub"),
    "revision without hub": ("models: {mine: {path: x, revision: main}}", "models.mine.revision",
                             "goes with hub"),
    "hub without owner": ("models: {mine: {hub: Qwen, revision: main}}", "models.mine.hub",
                          "no owner/name of the hub: 'Qwen'"),
    "hub that leads elsewhere": ("models: {mine: {hub: ../../x, revision: main}}",
                                 "models.mine.hub", "no owner/name of the hub"),
    "package without a sum": ("models: {mine: {package: a==1}}", "models.mine.sha256",
                              "goes with package"),
    "sum without a package": (f"models: {{mine: {{path: x, sha256: {'a' * 64}}}}}",
                              "models.mine.sha256", "goes with package"),
    "sum that is none": ("models: {mine: {package: a==1, sha256: abc}}", "models.mine.sha256",
                         "64 hex digits, not 'abc'"),
    "package without a version": (f"models: {{mine: {{package: a, sha256: {'a' * 64}}}}}",
                                  "models.mine.package", "no name==version: 'a'"),
    "package that is an option": (
        f"models: {{mine: {{package: [a==1, --index-url=x==1], sha256: {'a' * 64}}}}}",
        "models.mine.package", "no name==version: '--index-url=x==1'"),
    "package that is an address": (
        f"models: {{mine: {{package: 'a @ file:///x==1', sha256: {'a' * 64}}}}}",
        "models.mine.package", "no name==version"),
    "no packages": (f"models: {{mine: {{package: [], sha256: {'a' * 64}}}}}",
                    "models.mine.package", "must not be empty"),
    "terms that nobody accepted": ("models: {mine: {path: x, terms: example.org/terms}}",
                                   "models.mine.accept_terms",
                                   "read example.org/terms, then write accept_terms: true"),
    "type of a model": ("models: {mine: {path: x, dtype: half}}", "models.mine.dtype",
                        "float32, bfloat16, float16"),
    "model with a bad name": ("models: {a/b: {path: x}}", "models.'a/b'", "a model's name is"),
    "model in capitals": ("models: {Mine: {path: x}}", "models.Mine", "lower-case letters"),
    "model called tiny": ("models: {tiny: {path: x}}", "models.tiny", "is the embedded model"),
    "model called as a training": ("models: {tiny-s0: {path: x}}", "models.tiny-s0",
                                   "is the embedded model"),
    "layer beyond the depth": ("crosslingual: {z: {layers: [1.0]}}", "crosslingual.z.layers[0]",
                               "a layer's index, such as 2, or a share * not 1.0"),
    "negative layer": ("crosslingual: {z: {layers: [-1]}}", "crosslingual.z.layers[0]",
                       "a layer's index * not -1"),
    "layer that is a flag": ("crosslingual: {z: {layers: [true]}}", "crosslingual.z.layers",
                             "must be a number"),
    "no k": ("crosslingual: {z: {k: [0]}}", "crosslingual.z.k[0]", "a number of dimensions"),
    "share of k above 1": ("crosslingual: {z: {k: [1.5]}}", "crosslingual.z.k[0]",
                           "or a share, such as 0.5, not 1.5"),
    "kernel": ("crosslingual: {z: {kinds: [qv]}}", "crosslingual.z.kinds[0]", "qk, kq, ov"),
    "verdict of another layer": ("crosslingual: {verdict: {layer: 0.25}}", "crosslingual.verdict",
                                 "layer 0.25 is not among z.layers [0.5, 0.75]"),
    "verdict of another k": ("crosslingual: {verdict: {k: 7}}", "crosslingual.verdict",
                             "k 7 is not among z.k"),
    "verdict of a source left out": ("crosslingual: {patching: {sources: [matched]}}",
                                     "crosslingual.verdict",
                                     "source mismatched is not among patching.sources"),
    "verdict without its controls": ("crosslingual: {patching: {spaces: [z]}}",
                                     "crosslingual.patching", "verdict needs the spaces z_perp"),
    "hand-written problems for the tiny model": (
        "crosslingual: {problems: {source: hand_written}}", "crosslingual.problems",
        "knows the words of generated problems only"),
    "a file of generated problems": ("crosslingual: {problems: {file: x.yaml}}",
                                     "crosslingual.problems.file", "with source: hand_written"),
    "seed of a model twice": ("crosslingual: {seeds: [1, 1]}", "crosslingual.seeds",
                              "repeats a seed: [1, 1]"),
    "odd heads": ("crosslingual: {tiny: {shape: {d_model: 36}}}",
                  "crosslingual.tiny.shape.d_model", "must be even"),
    "heads that do not share": ("crosslingual: {tiny: {shape: {n_kv_heads: 3}}}",
                                "crosslingual.tiny.shape.n_heads", "4 is not divisible by n_kv"),
    "warm-up of the tiny model": ("crosslingual: {tiny: {training: {steps: 60}}}",
                                  "crosslingual.tiny.training.warmup_steps",
                                  "60 is not below steps 60"),
    "gate": ("crosslingual: {tiny: {training: {gate: 95}}}", "crosslingual.tiny.training.gate",
             "must be at most 1, not 95"),
    # The toy language.
    "toy key": ("toylang: {run: {training: {muonlr: 1}}}", "toylang.run.training.muonlr",
                "did you mean muon_lr?"),
    "toy primitive": ("toylang: {dependency: {removed: [skipp]}}",
                      "toylang.dependency.removed[0]", "must be one of long_range, induction"),
    "removed twice": ("toylang: {dependency: {removed: [skip, skip]}}", "toylang.dependency",
                      "removed repeats a primitive"),
    "delayed and off": ("toylang: {dependency: {delayed: [quote]}}", "toylang.dependency",
                        "quote is not on"),
    "removed but needed": (
        "toylang: {run: {language: {transitions: {closed: {round: 1}}}}}",
        "toylang.dependency", "impossible without bracket: closed has no weight",
    ),
    "a run's delay of what is off": ("toylang: {run: {delayed: {quote: 5}}}",
                                     "toylang.run.delayed", "quote is not on"),
    "a run's delay beyond its end": ("toylang: {run: {delayed: {skip: 1200}}}",
                                     "toylang.run.delayed", "not within 1 ... 1199"),
    "a run's delay of what is needed": (
        "toylang: {dependency: {removed: [], delayed: []}, run: {delayed: {bracket: 5}, "
        "language: {transitions: {closed: {round: 1}}}}}",
        "toylang.run.delayed", "impossible without bracket",
    ),
    "seeds without a reference": ("toylang: {dependency: {seeds: [0, 9]}}", "toylang.dependency",
                                  "seeds [9] have no run of the reference"),
    "toy seed twice": ("toylang: {seeds: [0, 0, 1, 2]}", "toylang.seeds", "repeats a seed"),
    "name of a model": ("toylang: {models: {Soft-Max: {}}}", "toylang.models.Soft-Max",
                        "unknown key"),
    "name of another condition": ("toylang: {models: {without_skip: {}}}", "toylang.models",
                                  "the name without_skip is taken by another condition"),
    "odd toy heads": ("toylang: {run: {model: {d_head: 5}}}", "toylang.run.model.d_head",
                      "must be even"),
    "toy warm-up": ("toylang: {run: {training: {steps: 20}}}",
                    "toylang.run.training.warmup_steps", "50 is not below steps 20"),
    "misspelt study": ("crosslingal: {}", "crosslingal", "did you mean crosslingual?"),
}  # fmt: skip


def merged(under, over):
    """As Snakemake merges configuration files."""
    if isinstance(under, dict) and isinstance(over, dict):
        return {**under, **{k: merged(under.get(k), v) for k, v in over.items()}}
    return over


def check(*files):
    """Read (name, text) as Snakemake's rules do: everything that a mistake can stop."""
    sources = [(name, yaml.safe_load(text) or {}) for name, text in files]
    raw = {}
    for _, content in sources:
        raw = merged(raw, content)
    config = load(raw, copy.deepcopy(sources))
    return LagPlan(config.lag, sources).check()


def message_of(text, base=BASE):
    with pytest.raises(ConfigError) as caught:
        check(("config/config.yaml", base), ("config/mine.yaml", text))
    return str(caught.value)


def test_the_config_that_is_damaged_is_whole():
    assert set(check(("config/config.yaml", BASE)).sweeps) == {"first", "second"}


@pytest.mark.parametrize(("text", "key", "says"), DAMAGED.values(), ids=DAMAGED)
def test_a_mistake_is_one_line_with_its_key_what_is_allowed_and_the_file(text, key, says):
    message = message_of(text)
    assert message.startswith(f"config key {key}: "), message
    assert all(part in message for part in says.split(" * ")), message
    assert message.endswith(" (config/mine.yaml)" if key not in OF_BASE else ")"), message
    assert "\n" not in message, message
    assert len(message) < 400, message
    for noise in ("pydantic", "http", "Traceback", "Config", "Section", "input", "validation"):
        assert noise not in message, message


# The key to blame is in the first file, or in both: the warm-up is what the message names.
OF_BASE = {"lag.run.training.warmup_steps"}


def test_several_mistakes_are_a_line_each():
    message = message_of("device: gpu\nlag: {run: {data: {k: 0, kk: 1}, model: {n_heads: x}}}")
    assert [line.split(":")[0] for line in message.splitlines()] == [
        "config key device",
        "config key lag.run.data.k",
        "config key lag.run.data.kk",
        "config key lag.run.model.n_heads",
    ]


def test_an_unknown_name_hides_what_is_wrong_below_it():
    assert len(message_of("lag: {onset: {probes: {foo: {abov: x}}}}").splitlines()) == 1


@pytest.mark.parametrize("raw", [{}, {"device": "cpu"}, {"lag": None}])
def test_the_study_must_be_there(raw):
    with pytest.raises(ConfigError, match=r"^the configuration: no study is configured"):
        load(raw)


@pytest.mark.parametrize("raw", [None, [1], "lag", 3])
def test_a_file_that_is_no_block(raw):
    with pytest.raises(ConfigError, match=r"^the configuration: must be a block of keys, not "):
        load(raw)


def test_the_file_is_the_last_one_that_sets_the_key():
    files = [("a.yaml", BASE), ("b.yaml", "device: gpu"), ("c.yaml", "bootstrap: {}")]
    with pytest.raises(ConfigError, match=r"\(b\.yaml\)$"):
        check(*files)
    with pytest.raises(ConfigError, match=r"\(c\.yaml\)$"):
        check(*files[:2], ("c.yaml", "device: tpu"))


def test_what_no_file_sets_came_from_the_command_line():
    base = yaml.safe_load(BASE)
    with pytest.raises(ConfigError, match=r"\(--config\)$"):
        load({**base, "colour": "red"}, [("a.yaml", base)])


def test_a_key_that_a_sweep_inherits_is_named_where_it_stands():
    message = message_of("lag: {sweeps: {first: {training: {steps: 8}}}}")
    assert message == (
        "config key lag.run.training.warmup_steps: 10 is not below steps 8: the learning rate "
        "would never reach its peak; in sweep first at k 1 (config/config.yaml)"
    )


def test_long_values_are_cut():
    message = message_of(f"lag: {{run: {{training: {{lr: {'x' * 1000}}}}}}}")
    assert len(message) < 200


@pytest.mark.parametrize("spelling", ["1e-3", "1.0e-3", "0.001", "'1e-3'", "1E-3"])
def test_numbers_with_an_exponent_are_numbers_however_yaml_reads_them(spelling):
    plan = check(
        ("a.yaml", BASE),
        ("b.yaml", f"lag: {{sweeps: {{first: {{grid: {{training.lr: [{spelling}]}}}}}}}}"),
        ("c.yaml", f"lag: {{run: {{training: {{lr: {spelling}}}}}}}"),
    )
    (run, *_) = plan.sweeps["second"]
    assert run.config.training.lr == 0.001
    assert {r.label for r in plan.sweeps["first"] if "lr" in r.label} == {
        "k 1, lr 0.001",
        "k 2, lr 0.001",
    }


def test_a_whole_number_may_be_written_with_a_point():
    assert TrainingConfig(steps=2000.0).steps == 2000


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("lag", "sweeps", "k", "seeds", 0), "lag.sweeps.k.seeds[0]"),
        (("a", "grid", "data.k"), "a.grid.data.k"),
        (("a", ""), "a.''"),
        (("a", "b c"), "a.'b c'"),
    ],
)
def test_dotted(path, text):
    assert dotted(path) == text


def test_every_default_is_valid_by_itself():
    for model in (RunConfig, DataConfig, TrainingConfig):
        assert model.model_validate(model().model_dump()) == model()


def test_the_config_cannot_be_changed():
    config = load(yaml.safe_load(BASE))
    with pytest.raises(Exception, match="frozen"):
        config.device = "cuda"


def test_a_dump_is_the_config_again():
    config = load(yaml.safe_load(BASE))
    assert Config.model_validate(config.model_dump()) == config


def test_a_package_may_have_parts_and_terms_that_were_accepted():
    terms = {"licence": "Example terms", "terms": "example.org/terms", "accept_terms": True}
    gemma = {"package": ["gemma==1.0.0", "gemma-part1==1.0.0"], "sha256": "a" * 64, **terms}
    source = load({**yaml.safe_load(BASE), "models": {"gemma": gemma}}).models["gemma"]
    assert (source.kind, source.wheels) == ("package", ["gemma==1.0.0", "gemma-part1==1.0.0"])
    one = {"package": "a==1", "sha256": "a" * 64}
    assert load({**yaml.safe_load(BASE), "models": {"one": one}}).models["one"].wheels == ["a==1"]


@pytest.mark.parametrize(
    ("task", "has_z", "n_candidates", "n_rows"),
    [("bz_to_a", True, 4, 40), ("az_to_b", True, 1, 40), ("b_to_a", False, 4, 40),
     ("a_to_b", False, 1, 40)],
)  # fmt: skip
def test_what_follows_from_the_task(task, has_z, n_candidates, n_rows):
    data = DataConfig(task=task, k=4, n_unique_b=10)
    assert (data.has_z, data.n_candidates, data.n_rows) == (has_z, n_candidates, n_rows)


def test_a_parity_code_has_every_binary_string():
    data = DataConfig(k=2, n_unique_b=10, z_code="parity", z_length=4, z_order=3)
    assert (data.n_z, data.n_rows, data.z_characters) == (16, 160, "01")


@pytest.mark.parametrize(
    ("training", "steps"),
    [
        ({"steps": 25, "checkpoint_every": 10, "early_checkpoints": False}, (0, 10, 20, 25)),
        ({"steps": 20, "checkpoint_every": 10}, (0, 1, 2, 4, 8, 10, 20)),
        ({"steps": 5, "checkpoint_every": 100}, (0, 1, 2, 4, 5)),
        ({"steps": 1, "checkpoint_every": 1}, (0, 1)),
    ],
)
def test_checkpoint_steps(training, steps):
    assert TrainingConfig(warmup_steps=0, **training).checkpoint_steps == steps


def test_the_messages_of_the_table_are_of_many_kinds():
    assert len(DAMAGED) >= 90
    assert len({re.sub(r"\W.*", "", key) for _, key, _ in DAMAGED.values()}) >= 4
