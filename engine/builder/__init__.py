"""From an ONNX file to an engine: plan, child process, memory, timing cache."""
