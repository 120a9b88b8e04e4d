"""The benchmark suite: published networks with seeded random weights, and where others come from."""
