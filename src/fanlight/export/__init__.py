"""Networks as files for other programs: crops in, landmarks out, with the decoding inside.

Each function writes one file, whole or not at all, and says how far its landmarks are from those of PyTorch.
"""

from fanlight.export.check import ExampleFaces, Exported
from fanlight.export.ibug import export_ibug
from fanlight.export.onnx import export_onnx
from fanlight.export.quantise import export_onnx_int8
from fanlight.export.slim import export_slim, slim
from fanlight.export.torchscript import export_torchscript

__all__ = [
    "ExampleFaces",
    "Exported",
    "export_ibug",
    "export_onnx",
    "export_onnx_int8",
    "export_slim",
    "export_torchscript",
    "slim",
]
