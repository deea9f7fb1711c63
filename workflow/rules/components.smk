# Components and attribution: three parts beside each other, each with rules of its own.


include: "attribution.smk"
include: "dictionaries.smk"
include: "decomposition.smk"
include: "letters.smk"


rule summarise_components:
    """Put what every method found against its truth into one table."""
    input:
        **{table.short: COMPONENTS.files(table) for table in components_tables.SUMMED},
    output:
        summary=components_tables.SUMMARY.path,
        csv=report(
            "results/components/summary.csv",
            caption="../report/caption.rst",
            category=TITLES["components"],
            subcategory="Tables",
            labels={"table": "method by question", "format": "csv"},
        ),
    log:
        "logs/summarise_components/all.log",
    benchmark:
        "results/benchmarks/summarise_components/all.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        caption=caption("components", "summary"),
        tracked=lambda wildcards: tracked(
            "components/summarise_components.py", subjects=list(COMPONENTS.toy)
        ),
    script:
        "../scripts/components/summarise_components.py"


TARGETS["components"] = [
    *(file for table in components_tables.TABLES for file in COMPONENTS.files(table)),
    *(["results/components/summary.csv"] if COMPONENTS.toy else []),
    *decomposition_pages(),
]


rule components:
    """Every figure and table of the components study."""
    input:
        targets("components"),
    localrule: True
