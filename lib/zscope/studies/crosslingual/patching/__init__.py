"""Experiment A: activation patching during generation, and its tests."""
