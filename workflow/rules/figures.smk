# Every figure of every study. The plans say which figures are drawn, and from which tables.


rule draw_figure:
    """Draw one figure from the tables that its module names."""
    input:
        unpack(lambda wildcards: drawing(wildcards).inputs),
    output:
        svg=report(
            "results/figures/{study}/{figure}.svg",
            caption="../report/caption.rst",
            category=lambda wildcards: TITLES[wildcards.study],
            subcategory=lambda wildcards: drawing(wildcards).group,
            labels={"figure": "{figure}", "format": "svg"},
        ),
        png="results/figures/{study}/{figure}.png",
    log:
        "logs/draw_figure/{study}/{figure}.log",
    benchmark:
        "results/benchmarks/draw_figure/{study}/{figure}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        caption=figure_caption,
        tracked=lambda wildcards: tracked(
            "draw_figure.py",
            uses=[drawing(wildcards).module.module],
            study=wildcards.study,
            figure=drawing(wildcards).module.name,
            level=CONFIG.bootstrap.level if drawing(wildcards).has_intervals else None,
            declared=drawing(wildcards).declared,
        ),
    script:
        "../scripts/draw_figure.py"
