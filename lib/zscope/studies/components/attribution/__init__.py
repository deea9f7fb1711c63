"""Attribution patching, scored against exhaustive patching."""
