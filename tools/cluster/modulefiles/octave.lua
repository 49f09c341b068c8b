help([[GNU Octave, which runs most programs that are written for MATLAB.]])
whatis("Octave: octave and octave-cli, with gnuplot for plots")
prepend_path("PATH", "@apps@/octave/bin")
