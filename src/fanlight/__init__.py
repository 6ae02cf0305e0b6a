"""fanlight: train, judge and use Face Alignment Networks."""

from fanlight.predict import load

__all__ = ["load"]
__version__ = "0.1.0"
