"""fanlight: train, judge and use Face Alignment Networks."""

__version__ = "0.1.0"
