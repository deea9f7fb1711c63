# Parameter decomposition: a decomposition for each seed -> what its components do -> figures, pages.
