"""Build TensorRT engines, and run models on a line with ONNX Runtime or TensorRT. Needs no PyTorch."""
