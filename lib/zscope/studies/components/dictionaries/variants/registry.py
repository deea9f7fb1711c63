"""The variants by their names in the config."""

from __future__ import annotations

from collections.abc import Mapping

from zscope.studies.components.dictionaries.config import VariantName
from zscope.studies.components.dictionaries.variants import (
    batch_top_k,
    gated,
    jump_relu,
    l1,
    top_k,
)
from zscope.studies.components.dictionaries.variants.kind import Kind

KINDS: Mapping[VariantName, Kind] = {
    "l1": l1.KIND,
    "topk": top_k.KIND,
    "batch_topk": batch_top_k.KIND,
    "gated": gated.KIND,
    "jump_relu": jump_relu.TANH,
    "jump_relu_l0": jump_relu.COUNT,
}
