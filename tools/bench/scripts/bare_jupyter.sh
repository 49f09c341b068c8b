#!/bin/bash
# Start JupyterLab with the module $MODULE, as people do without sjupyter.
type module >/dev/null 2>&1 || . /etc/profile
module load "$MODULE"
exec jupyter lab --no-browser --ip="$(hostname --ip-address)" --port=0
