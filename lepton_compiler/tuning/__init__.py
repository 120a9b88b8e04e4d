"""Tuning: what was tried for a kernel on a target, kept as records in logs that know where they were measured."""
