# The cross-lingual Z study: problems -> models -> activations, spaces and patched outputs
# -> measurements -> verdicts -> figures.

from zscope.studies.crosslingual import tables as crosslingual_tables
from zscope.studies.crosslingual.study import CrosslingualPlan

PLANS["crosslingual"] = CROSSLINGUAL = CrosslingualPlan(CONFIG.crosslingual)
CROSSLINGUAL_MODEL = "results/crosslingual/models/{model}"
CROSSLINGUAL_OUTPUTS = crosslingual_tables.OUTPUTS.path.replace("{patched}", "{{patched}}")
# The model that is read, for every rule that loads it.
CROSSLINGUAL_SUBJECT = {
    "model": CONFIG.crosslingual.model.model_dump(),
    "dtype": CONFIG.crosslingual.dtype,
    "device": CONFIG.device,
}
CROSSLINGUAL_Z = CONFIG.crosslingual.z.model_dump()
