help([[Python with the packages that people compute with. On the cluster it may be Anaconda; here it is a virtual environment.]])
whatis("Python: Python 3 with numpy, matplotlib and ipykernel")
prepend_path("PATH", "@apps@/@python@/bin")
