"""Make the page of a layer's components, and its Markdown twin."""

from pathlib import Path

from zscope.core.files import atomic_path
from zscope.core.jobs import job
from zscope.figures.frames import select
from zscope.studies.components.decomposition.layer_page import (
    html_page,
    layer_table,
    markdown_page,
)
from zscope.studies.components.decomposition.tables import (
    COMPONENTS,
    IMPORTANCE,
    PARTNERS,
    TOKENS,
)
from zscope.tables.read import read_table

PHASE = "stochastic"  # whose components are described
HOW = (
    "Components that are alive, by matrix and mean importance g. Head: the one with the largest "
    "norm, and its share of the squared norm. Reads, writes: tokens. Serves: primitives on which g "
    "is more than twice as large as elsewhere, and its mean there. Partners: of a query's "
    "component keys' components with the largest share of the score, and how many tokens back; of "
    "a key's component values' components that fire with it (phi), more than another sequence's do."
)


def make_layer_page(
    components: str, tokens: str, importance: str, partners: str, page: str, twin: str, layer: int
) -> None:
    described, read, important, together = (
        select(read_table(path, table), phase=PHASE)
        for path, table in (
            (components, COMPONENTS),
            (tokens, TOKENS),
            (importance, IMPORTANCE),
            (partners, PARTNERS),
        )
    )
    table = layer_table(described, read, important, together, layer)
    model, seed = described[["model", "seed"]].iloc[0]
    title = f"Components of layer {layer} of {model}, decomposition {seed}"
    for path, text in (
        (page, html_page(table, title, HOW)),
        (twin, markdown_page(table, title, HOW)),
    ):
        with atomic_path(Path(path)) as temporary:
            temporary.write_text(text, "utf-8")


if __name__ == "__main__":
    with job(snakemake, "pandas") as this:
        make_layer_page(
            this.input.components,
            this.input.tokens,
            this.input.importance,
            this.input.partners,
            this.output.page,
            this.output.twin,
            int(this.wildcards.layer),
        )
