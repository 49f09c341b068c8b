"""Make what "Run in the browser" needs: JupyterLite's notebook, with Python as WebAssembly and the
packages of wheels.txt beside it.

    python tools/lite/make.py FOLDER

makes FOLDER/app, static files that ask no other host. FOLDER/env is the environment of
requirements.txt. Which notebooks are in it, _ext/in_browser.py adds when the site is built.
"""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
CORE = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm")
LIBRARY = "python_stdlib.zip"
OF_THE_KERNEL = ("piplite", "ipykernel", "pyodide_kernel")  # come with jupyterlite-pyodide-kernel
BROWSER = (
    "--python-version",
    "3.14",
    "--implementation",
    "cp",
    "--abi",
    "cp314",
    "--platform",
    "pyemscripten_2026_0_wasm32",
)
# Types of packages that nobody has in the browser. Without these 4,800 files Python starts two
# seconds earlier.
UNUSED = ("jedi/third_party/typeshed/stubs/", "jedi/third_party/django-stubs/")
OLD_FONTS = (".eot", ".svg", ".ttf")  # of icons, for browsers that cannot run WebAssembly
KERNEL = "@jupyterlite/pyodide-kernel-extension"


def run(*command, **options):
    """Run a command, and return what it prints; where it fails, leave with what it said."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, **options
    )
    if done.returncode:
        sys.exit(
            f"{(done.stderr or done.stdout).strip()}\n{Path(command[0]).name} "
            f"{command[1]} did not do it. Is the network there, and space on the disk? "
            "Then: make lite"
        )
    return done.stdout


def pack(archive, target, bytecode):
    """Copy a zip file into the folder `target`, without what is unused and with the `bytecode`,
    {name: bytes}, of what is in it; return the names.
    """
    with (
        zipfile.ZipFile(archive) as old,
        zipfile.ZipFile(target / archive.name, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        names = [
            entry.filename for entry in old.infolist() if not entry.filename.startswith(UNUSED)
        ]
        for name in names:
            new.writestr(old.getinfo(name), old.read(name))
        modules = {name for name in names if name.endswith(".py")}
        for name, content in bytecode.items():
            if source(name) in modules:
                new.writestr(name, content)
    return names


def source(name):
    """The file that the bytecode `name` was made from, in an archive: beside it, or above its
    folder __pycache__.
    """
    folder, _, module = name.rpartition("__pycache__/")
    return folder + module.split(".")[0] + ".py" if module else name.removesuffix("c")


def packed(wheel, target, bytecode):
    """Pack a wheel; return what Pyodide's lock file says of it."""
    first = {name.split("/")[0] for name in pack(wheel, target, bytecode)}
    imports = {
        name.removesuffix(".py") for name in first if not name.endswith((".dist-info", ".data"))
    }
    name, version = wheel.name.split("-")[:2]
    return {
        "name": name.replace("_", "-"),
        "version": version,
        "file_name": wheel.name,
        "sha256": hashlib.sha256((target / wheel.name).read_bytes()).hexdigest(),
        "imports": sorted(imports),
        "depends": [],
        "install_dir": "site",
        "package_type": "package",
        "unvendored_tests": False,
        "tool": {},
    }


def python(pyodide, wheels, target, bytecode):
    """Put Pyodide's core and all wheels into the folder `target`; return the names of the packages."""
    target.mkdir(parents=True)
    for name in CORE:
        shutil.copy(pyodide / name, target)
    pack(pyodide / LIBRARY, target, bytecode)
    packages = [packed(wheel, target, bytecode) for wheel in sorted(wheels)]
    lock = json.loads((pyodide / "pyodide-lock.json").read_text(encoding="utf-8"))
    lock["packages"] = {package["name"]: package for package in packages}
    (target / "pyodide-lock.json").write_text(json.dumps(lock), encoding="utf-8")
    return list(lock["packages"])


def settings(packages):
    """{file: what JupyterLite reads in it}.

    All packages are loaded at once, at the start, and none from an index on the internet.
    """
    kernel = {"disablePyPIFallback": True, "loadPyodideOptions": {"packages": packages}}
    return {
        "jupyter-lite.json": {
            "jupyter-lite-schema-version": 0,
            "jupyter-config-data": {
                "appUrl": "./tree",
                "contentsAllJsonFile": "all.json",
                "litePluginSettings": {f"{KERNEL}:kernel": kernel},
            },
        },
        "jupyter_lite_config.json": {
            "LiteBuildConfig": {
                "apps": ["notebooks", "tree", "edit"],
                "no_sourcemaps": True,
                "no_unused_shared_packages": True,
            }
        },
    }


def finish(app):
    """Take away what no browser asks for, and put there what each one asks for and JupyterLite
    lacks.
    """
    for path in [*app.rglob("*")]:
        if (
            path.suffix in OLD_FONTS
            and path.parent.name == "build"
            or path.name.startswith("rspack.config")
        ):
            path.unlink()
    icons, words = app / "static/favicons", app / "api/translations"
    for folder in (icons, words):
        folder.mkdir(parents=True, exist_ok=True)
    for name in ("favicon-notebook.ico", "favicon-busy-1.ico"):
        shutil.copy(app / "notebooks/favicon.ico", icons / name)
    (words / "all.json").write_text(
        json.dumps(
            {"data": {"en": {"displayName": "English", "nativeName": "English"}}, "message": ""}
        ),
        encoding="utf-8",
    )
    (words / "en.json").write_text(json.dumps({"data": {}, "message": ""}), encoding="utf-8")
    said = json.loads((app / "jupyter-lite.json").read_text(encoding="utf-8"))[
        "jupyter-config-data"
    ]["litePluginSettings"][f"{KERNEL}:kernel"]
    if not said.get("pyodideUrl", "").startswith("./static/pyodide/"):
        sys.exit(
            f"jupyter-lite.json names {said.get('pyodideUrl')} for Pyodide, which is not in {app}"
        )


def main(folder):
    folder = folder.resolve()
    bin = folder / "env/bin"
    path = os.environ | {"PATH": f"{bin}{os.pathsep}{os.environ['PATH']}"}
    with tempfile.TemporaryDirectory(dir=folder) as work:
        work = Path(work)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, work)
        run(
            bin / "npm",
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
            cwd=work,
            env=path,
        )
        run(
            bin / "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--require-hashes",
            "--only-binary=:all:",
            *BROWSER,
            "--requirement",
            HERE / "wheels.txt",
            "--dest",
            work / "wheels",
        )
        own = folder / f"env/share/jupyter/labextensions/{KERNEL}/static/pypi"
        wheels = [
            *(work / "wheels").glob("*.whl"),
            *(wheel for name in OF_THE_KERNEL for wheel in own.glob(f"{name}-*.whl")),
        ]
        python(work / "node_modules/pyodide", wheels, work / "first", {})
        said = run(
            bin / "node", HERE / "bytecode.mjs", work / "first"
        )  # compiled once here, and not at each start there
        bytecode = {name: base64.b64decode(content) for name, content in json.loads(said).items()}
        for name, content in settings(
            python(work / "node_modules/pyodide", wheels, work / "lite/static/pyodide", bytecode)
        ).items():
            (work / "lite" / name).write_text(json.dumps(content), encoding="utf-8")
        run(
            bin / "jupyter-lite",
            "build",
            "--lite-dir",
            work / "lite",
            "--output-dir",
            work / "app",
            cwd=work,
            env=path,
        )
        finish(work / "app")
        shutil.rmtree(folder / "app", ignore_errors=True)
        (work / "app").rename(folder / "app")
    shutil.rmtree(folder / "env")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
