# The locked versions, and the workflow. Results belong on a volume:
#   docker build -t zscope .
#   docker run --rm -v "$PWD/runs:/runs" zscope -d /runs/default
FROM python:3.11-slim
WORKDIR /zscope
COPY requirements.lock pyproject.toml README.md ./
# A CPU build: the one on PyPI brings CUDA. Its version is the lock's.
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu \
      "$(grep -m1 '^torch==' requirements.lock | cut -d' ' -f1)" \
 && pip install --no-cache-dir -r requirements.lock
COPY . .
RUN pip install --no-cache-dir --no-deps -e .
ENTRYPOINT ["snakemake", "--snakefile", "/zscope/workflow/Snakefile", "--cores", "all"]
