# Components and attribution: three parts beside each other, each with rules of its own.


include: "attribution.smk"
include: "dictionaries.smk"
include: "decomposition.smk"


TARGETS["components"] = [
    file for table in components_tables.TABLES for file in COMPONENTS.files(table)
] + decomposition_pages()


rule components:
    """Every figure and table of the components study."""
    input:
        targets("components"),
    localrule: True
