"""A test double of TensorRT, of CUDA's runtime and of PyCUDA. It is none of them: nothing here computes on a GPU or talks to a driver.

`install` puts the stand-in modules of `../path` in the place of the real ones, for one test and for the processes that it starts.
They keep the rules of the real ones (the contract tests check their names, enum members and parameters against the real packages):

- `gpu`: memory with addresses that only copies and engines reach, streams that do nothing until they are waited for (reading early gives
  the old data), events, graphs, errors that stay;
- `plans`: an engine is a line of JSON about itself and the ONNX file's bytes, run by ONNX Runtime;
- `world`: what the machine is said to have, and the faults that a test wants.
"""
