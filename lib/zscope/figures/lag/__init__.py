"""The figures of the lag study: `draw(SweepTables)` or `draw(ConditionTables)` a module."""
