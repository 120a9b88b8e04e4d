"""The benchmark suite: networks from their published definitions, with seeded random weights, and where others come from."""
