"""The published archives of face landmarks, each in its own layout; ``prepare`` turns one into a data set.

A module for each kind reads it and says what its layout and its coordinate convention are, and where that is
known from.
"""
