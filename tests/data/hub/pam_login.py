"""Print whether PAM lets alice log in at the hub. Argument: her password."""

import sys

import pamela

pamela.authenticate("alice", sys.argv[1], service="jupyterhub")
pamela.check_account("alice", service="jupyterhub")
print("lets alice in")
