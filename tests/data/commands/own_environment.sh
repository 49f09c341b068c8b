#!/bin/bash
# own_environment.sh CENTRAL: make the virtual environment `mine`, which finds the Jupyter of
# CENTRAL through a path file.
set -e
python3 -m venv --without-pip mine
echo "$1"/lib/python3.*/site-packages > "$(echo mine/lib/python3.*/site-packages)/central.pth"
for name in jupyter jupyter-lab; do
    sed "1s|.*|#!$HOME/mine/bin/python|" "$1/bin/$name" > "mine/bin/$name"
    chmod +x "mine/bin/$name"
done
