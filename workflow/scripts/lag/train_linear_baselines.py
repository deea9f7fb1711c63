"""Train the linear baselines of the contrast figure."""

from zscope.core.jobs import job
from zscope.studies.lag.config import LinearConfig
from zscope.studies.lag.linear_baselines import ill_conditioned_regression, planted_selector
from zscope.studies.lag.tables import LINEAR
from zscope.tables.write import write_table

if __name__ == "__main__":
    with job(snakemake, "numpy") as this:
        config = LinearConfig.model_validate(this.slice["linear"])
        rows = [
            row
            for seed in config.seeds
            for baseline in (ill_conditioned_regression, planted_selector)
            for row in baseline(config, seed)
        ]
        write_table(rows, this.output.losses, LINEAR, this.provenance)
