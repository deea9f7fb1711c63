"""Pages of the heads study: one HTML file each, which loads nothing and escapes all text."""
