"""Make results/index.html, which shows what all studies found."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from zscope.core.files import atomic_path
from zscope.core.jobs import job
from zscope.core.provenance import versions
from zscope.overview.building import overview_page
from zscope.overview.contents import Contents, read_costs, read_study
from zscope.overview.not_run import not_run
from zscope.studies.registry import TITLES

PACKAGES = ("numpy", "pandas", "pyarrow", "snakemake", "torch", "transformer_lens", "transformers")


def make_page(
    output: str,
    *,
    studies: Mapping[str, Mapping[str, Any]],
    config: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> None:
    """studies: by name their figures (name, group, caption) and pages."""
    results = Path(output).parent
    listed = [
        read_study(results, name, studies[name]["figures"], studies[name]["pages"])
        for name in TITLES
        if name in studies
    ]
    contents = Contents(
        listed,
        read_costs(results),
        yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True),
        {"code of this page": str(provenance["code"]), **versions(*PACKAGES)},
        list(not_run(results, config)),
    )
    with atomic_path(output) as temporary:
        temporary.write_text(overview_page(contents, results), "utf-8")


if __name__ == "__main__":
    with job(snakemake, "pandas", "pyarrow") as this:
        make_page(
            this.output.page,
            studies=this.slice["studies"],
            config=this.slice["config"],
            provenance=this.provenance,
        )
