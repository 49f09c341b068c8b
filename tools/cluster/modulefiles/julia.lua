help([[A stand-in. Debian 12 has no Julia package, so the small Triton has a program of that name that says so.]])
whatis("Julia: a stand-in")
prepend_path("PATH", "@apps@/stand-ins")
