"""List problems with their answers as the embedded model reads them, for studies of that model."""

from collections.abc import Iterator

from zscope.core.jobs import Provenance, job
from zscope.core.provenance import derive_seed
from zscope.studies.crosslingual.problems.parallel import generate
from zscope.studies.crosslingual.problems.tokenizer import make_tokenizer
from zscope.studies.crosslingual.training import encode_problem
from zscope.tables.schema import Row
from zscope.tables.write import write_table
from zscope.text.tables import ROWS


def list_problem_rows(output: str, *, n: int, seed: int, provenance: Provenance) -> None:
    """n: English problems, held out of training. The model is asked for their completion."""
    write_table(_rows(n, seed), output, ROWS, provenance)


def _rows(n: int, seed: int) -> Iterator[Row]:
    tokenizer = make_tokenizer()
    special = set(tokenizer.all_special_ids)
    problems = generate(n, derive_seed(seed, "rows for other studies"), held_out=True)
    for sequence, problem in enumerate(problems):
        ids, n_prompt = encode_problem(tokenizer, problem, "en")
        for position, token_id in enumerate(ids):
            yield {
                "sequence": sequence,
                "position": position,
                "token_id": token_id,
                "token": str(tokenizer.convert_ids_to_tokens(token_id)),
                "special": token_id in special,
                "measured": position >= n_prompt and token_id not in special,
            }


if __name__ == "__main__":
    with job(snakemake, "numpy", "tokenizers", "transformers") as this:
        list_problem_rows(
            this.output.rows,
            n=this.slice["n"],
            seed=this.slice["seed"],
            provenance=this.provenance,
        )
