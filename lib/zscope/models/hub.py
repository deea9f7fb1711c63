"""Files of a model on the Hugging Face hub, from its cache or fetched into it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zscope.core.errors import ConfigError

SMALL_FILES = ("*.json", "*.txt", "*.model", "*.jinja")
WEIGHT_FILES = ("*.safetensors",)


def fetch_from_hub(model: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """The folder of the hub's cache with these files of a revision; its name is the commit.

    Raises ConfigError if the model or its revision cannot be found or fetched.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if not revision:
        raise ConfigError(
            f"model {model}: no revision. Results are of one version of the weights: give the "
            "commit's hash, which the model's page on the hub shows under Files"
        )
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=list(patterns)))
    except GatedRepoError:
        problem, way = "its owner has to let you in", "ask on its page, then `hf auth login`"
    except RepositoryNotFoundError:
        problem, way = "the hub has no such model", "check its id (owner/name)"
    except RevisionNotFoundError:
        problem, way = f"no revision {revision}", "take a commit that its page shows"
    except LocalEntryNotFoundError:
        problem = f"revision {revision} is not in the hub's cache, and the hub cannot be reached"
        way = (
            "fetch it once where there is a network, with the same HF_HOME: "
            f"hf download {model} --revision {revision}"
        )
    except (HFValidationError, HfHubHTTPError) as error:
        problem, way = str(error).splitlines()[0], "check its id and the network"
    raise ConfigError(f"model {model}: {problem}\n{way}") from None
