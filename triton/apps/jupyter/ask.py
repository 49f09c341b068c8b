"""Ask a language model that runs in this job, and that nobody else can ask."""

import os
import tempfile

import httpx
import xllamacpp

socket = tempfile.mkdtemp() + "/model.sock"  # in a folder that you alone can open
params = xllamacpp.CommonParams()
params.model.path = os.path.expandvars("$WRKDIR/model.gguf")
params.cpuparams.n_threads = int(os.environ["SLURM_CPUS_ON_NODE"])
params.hostnames = [socket]  # without this line: a port, and no password
params.verbosity = 1  # say errors alone
server = xllamacpp.Server(params)
model = httpx.Client(transport=httpx.HTTPTransport(uds=socket), timeout=600)

question = {"role": "user", "content": "What is a compute node?"}
request = {"messages": [question], "max_tokens": 30}
answer = model.post("http://localhost/v1/chat/completions", json=request)
print("Answer:", answer.json()["choices"][0]["message"]["content"])
