"""ARD-MMD on every layer of one model: tables crosslingual_ard, its history and lengthscales."""

from typing import Any

import numpy as np
import pandas as pd

from zscope.config.sizes import check_layer
from zscope.core.devices import set_threads
from zscope.core.jobs import progress, run_job
from zscope.core.provenance import derive_seed, versions
from zscope.studies.crosslingual.ard.evaluation import split_problems
from zscope.studies.crosslingual.ard.kernel import make_clouds
from zscope.studies.crosslingual.ard.layer_fits import ArdSettings, study_layer
from zscope.studies.crosslingual.config import ArdConfig, ZConfig
from zscope.studies.crosslingual.measures.space_file import SpaceFile
from zscope.studies.crosslingual.space.activations import layers_of, read_layer
from zscope.studies.crosslingual.space.updates import positions_used
from zscope.tables.read import read_table, write_table


def main(job: Any) -> None:
    """Inputs `activations` (a folder), `problems` (table), `spaces` (V_Z of every layer and k)."""
    tracked = job.params.tracked
    part = tracked["slice"]
    set_threads(job.threads)
    ard, z = ArdConfig.model_validate(part["ard"]), ZConfig.model_validate(part["z"])
    category = read_table(job.input.problems, "crosslingual_problems").set_index("problem").category
    n_layers = layers_of(job.input.activations)[-1]
    # The state after the last layer can be asked for too; it has no attention, hence no Z.
    depths = ard.layers or z.layers
    layers = [n_layers if x == n_layers else check_layer(x, n_layers) for x in depths]
    spaces, kind = SpaceFile(job.input.spaces), z.kinds[0]
    settings = ArdSettings.of(ard, z.draws)
    seed, skip_first = part["seed"], z.position_0 == "exclude"
    rng = np.random.default_rng(derive_seed(seed, "ard split"))
    split = None
    tables: dict[str, list[pd.DataFrame]] = {}
    for layer in progress(list(dict.fromkeys(layers)), desc="ard"):
        states = read_layer(job.input.activations, layer)
        zh, en = states["zh"], states["en"]
        clouds = make_clouds(
            zh.states.float(),
            positions_used(zh.mask, skip_first),
            en.states.float(),
            positions_used(en.mask, skip_first),
        )
        categories = category.loc[list(zh.problems)].to_numpy(str)
        split = split or split_problems(categories, ard.train_share, rng, ard.max_problems)
        of_layer = {
            k: spaces.load(layer, k, kind) for k in spaces.settings.ks if spaces.has(layer, k, kind)
        }
        layer_seed = derive_seed(seed, f"ard layer {layer}")
        rows = study_layer(clouds, categories, split, of_layer, settings, layer_seed)
        for name, found in vars(rows).items():
            frame = pd.DataFrame(found)
            frame.insert(0, "model", job.wildcards.model)
            frame.insert(1, "layer", layer)
            tables.setdefault(name, []).append(frame)
    provenance = {**tracked, "versions": versions("python", "numpy", "torch", "scipy")}
    for name, table in (
        ("measurements", "crosslingual_ard"),
        ("history", "crosslingual_ard_history"),
        ("lengthscales", "crosslingual_lengthscales"),
    ):
        whole = pd.concat(tables[name], ignore_index=True)
        if "k" in whole:
            whole = whole.astype({"k": "Int64"})
        write_table(whole, job.output[name], table, provenance)


if __name__ == "__main__":
    run_job(snakemake, main)
