help([[Python with the packages that people compute with. Triton's is Anaconda; here it is a virtual environment.]])
whatis("Python: Python 3 with numpy, matplotlib and ipykernel")
prepend_path("PATH", "@apps@/anaconda3/latest/bin")
