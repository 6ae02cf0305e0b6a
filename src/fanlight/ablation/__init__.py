"""Ablations: trainings that differ in one thing each, judged on the same faces."""
