/* node bytecode.mjs FOLDER: start the Python in FOLDER, import what the kernel imports, and print the bytecode of all these modules
   as JSON, {file in an archive: base64}. Python will not compare it with the source, which is in the same archive. */
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [folder] = process.argv.slice(2);
const { loadPyodide } = await import(pathToFileURL(`${folder}/pyodide.mjs`));
const { packages } = JSON.parse(readFileSync(`${folder}/pyodide-lock.json`));
const python = await loadPyodide({
  indexURL: `${folder}/`,
  packages: Object.keys(packages),
  stdout() {},
  stderr: console.error,
});
console.log(
  python.runPython(`
import base64, importlib._bootstrap_external, importlib.util, json, site, sys, zipimport
import pyodide_kernel, jedi     # and the Tab key

def pyc(source, file):
    code = compile(source, file, "exec", dont_inherit=True)
    return base64.b64encode(importlib._bootstrap_external._code_to_hash_pyc(code, importlib.util.source_hash(source), False)).decode()

bytecode = {}
for module in list(sys.modules.values()):
    spec = getattr(module, "__spec__", None)
    if not spec or not spec.origin or not spec.origin.endswith(".py"):
        continue
    file, source = spec.origin, spec.loader.get_data(spec.origin)
    if isinstance(spec.loader, zipimport.zipimporter):      # zipimport looks for it beside the source
        bytecode[file.removeprefix(spec.loader.archive + "/") + "c"] = pyc(source, file)
    elif file.startswith(site.getsitepackages()[0]):
        bytecode[importlib.util.cache_from_source(file).removeprefix(site.getsitepackages()[0] + "/")] = pyc(source, file)
json.dumps(bytecode)
`),
);
