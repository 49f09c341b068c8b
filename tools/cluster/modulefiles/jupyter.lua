help([[The environment that Jupyter itself runs in, to see what it sees: jupyter, envkernel, nbdime.]])
whatis("Jupyter: the environment of the JupyterHub service")
prepend_path("PATH", "@jupyter_env@/bin")
