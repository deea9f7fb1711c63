"""The figures of the components study."""
