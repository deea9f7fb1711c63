"""Figures of the heads study; a module that defines NEEDS is one."""
