"""Self-contained HTML pages: their frame, and text in them."""
