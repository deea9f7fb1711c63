"""What all tests share."""

import torch
from hypothesis import settings

torch.set_num_threads(1)
# The first example of a test pays for imports, so the clock of a single one says nothing.
settings.register_profile("zscope", deadline=None)
settings.load_profile("zscope")
