# Settings of every shell on the cluster; /etc/bash.bashrc reads them too, so that `ssh triton "module ..."` works.
export WRKDIR=$work/$$USER
case :$$PATH: in *:$apps/triton/bin:*) ;; *) export PATH=$$PATH:$apps/triton/bin ;; esac
[ -n "$$LMOD_CMD" ] && type module >/dev/null 2>&1 || . /etc/profile.d/lmod.sh
