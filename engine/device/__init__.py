"""The GPU: is there one, and what does its driver say. Asked before anything of TensorRT or CUDA is touched."""
