"""Does every name that lineside uses of TensorRT, of CUDA's bindings and of Polygraphy exist, in every version that it is for?

`packages` installs the real packages, each version in a folder of its own; `surface` is run by a process of its own in each of them and
says what is there; `uses` reads lineside's sources and says what they take; `check` compares. Needs no GPU: nothing is called.
"""
