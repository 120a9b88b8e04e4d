"""Loads compiled libraries and runs them; imports no TVM. ``csrc/`` is the C that is linked into every library."""
