help([[R, with the kernel for Jupyter.]])
whatis("R: R with IRkernel")
setenv("R_ROOT", "/usr/lib/R")
prepend_path("PATH", "/usr/lib/R/bin")
