"""One module per detector or family of detectors; each defines `detectors(settings)`."""
