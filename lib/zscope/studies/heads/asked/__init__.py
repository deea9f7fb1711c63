"""Where the models of a subject come from: one module for each source, with its sequences."""
