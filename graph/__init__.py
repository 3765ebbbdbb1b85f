"""ONNX graphs as data: the network in a file, its layers, what they cost and in which precision they run."""
