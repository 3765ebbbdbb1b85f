"""Run models on a line: ONNX Runtime now, TensorRT engines later. Needs no PyTorch."""
