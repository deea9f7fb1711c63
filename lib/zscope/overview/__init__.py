"""results/index.html: the page that a run ends with."""
