"""A DICOM AI node: studies in by C-STORE, results of ONNX models back into the same study."""

__version__ = "0.1.0"
