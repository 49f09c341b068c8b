help([[A stand-in. The small Triton has no GPU, so a library of another name stands for NVIDIA's.]])
whatis("CUDA: a stand-in for NVIDIA's libraries")
prepend_path("LD_LIBRARY_PATH", "@apps@/stand-ins")
