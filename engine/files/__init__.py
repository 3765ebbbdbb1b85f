"""The files of this stage, read and written in one place each: ONNX, sidecar, golden strips, marks."""
