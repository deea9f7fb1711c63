"""The research questions, each by the original protocol's rule and by the controlled one."""
