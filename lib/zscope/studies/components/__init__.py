"""Attribution, sparse dictionaries and parameter decomposition, scored against known truth."""
