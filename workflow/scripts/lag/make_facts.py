"""Draw the facts that all runs with the same data share."""

from zscope.core.jobs import job
from zscope.core.provenance import derive_seed
from zscope.studies.lag.facts import make_facts
from zscope.studies.lag.run_config import DataConfig
from zscope.studies.lag.tables import FACTS
from zscope.tables.write import write_table

if __name__ == "__main__":
    with job(snakemake, "numpy") as this:
        config = DataConfig.model_validate(this.slice["data"])
        facts = make_facts(config, derive_seed(this.slice["seed"], "data"))
        write_table(facts, this.output.facts, FACTS, this.provenance)
