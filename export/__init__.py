"""From a checkpoint to one full-image ONNX file."""
