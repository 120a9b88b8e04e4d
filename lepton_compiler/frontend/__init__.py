"""From a model file to a ``Program``: read, check, convert, and name everything that can't be converted."""
