help([[A stand-in. MATLAB is licensed software, so the small Triton has a program of that name that says so.]])
whatis("MATLAB: a stand-in for licensed software")
prepend_path("PATH", "@apps@/stand-ins")
