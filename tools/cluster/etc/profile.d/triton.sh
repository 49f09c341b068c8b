# What every shell on the cluster has; /etc/bash.bashrc reads it too, so that `ssh triton "module ..."` works.
export WRKDIR=$work/$$USER
case :$$PATH: in *:$apps/triton/bin:*) ;; *) export PATH=$$PATH:$apps/triton/bin ;; esac
[ -n "$$LMOD_CMD" ] && type module >/dev/null 2>&1 || . /etc/profile.d/lmod.sh
