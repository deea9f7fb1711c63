# The page that a run ends with: answers, figures, tables and costs of all studies.


rule make_page:
    """Make results/index.html, which shows what all studies found."""
    input:
        [targets(study) for study in PLANS],
    output:
        page="results/index.html",
    log:
        "logs/make_page/all.log",
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        tracked=lambda wildcards: tracked(
            "make_page.py",
            uses=[f"zscope.studies.{study}.answers" for study in PLANS],
            assets=page_digest(overview_files.OVERVIEW),
            studies=page_studies(),
            config=CONFIG.model_dump(mode="json"),
        ),
    script:
        "../scripts/make_page.py"
