"""From a float ONNX file to FP16 and INT8 ones that keep the verdicts."""
