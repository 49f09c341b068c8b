"""Make the program behind "Run in the browser": JupyterLite, with Python as WebAssembly and the
packages of wheels.txt.

    python tools/lite/make.py FOLDER

makes FOLDER/app, static files that load nothing from other hosts. FOLDER/env is the environment of
requirements.txt. When the site is built, _ext/in_browser.py adds the notebooks.
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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CORE = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm")
LIBRARY = "python_stdlib.zip"
OF_THE_KERNEL = ("piplite", "ipykernel", "pyodide_kernel")  # parts of jupyterlite-pyodide-kernel
BROWSER = (
    *("--python-version", "3.14", "--implementation", "cp", "--abi", "cp314"),
    *("--platform", "pyemscripten_2026_0_wasm32"),
)
# Type stubs of packages that are not in the browser. Without these 4,800 files, Python starts two
# seconds earlier.
UNUSED = ("jedi/third_party/typeshed/stubs/", "jedi/third_party/django-stubs/")
OLD_FONTS = (".eot", ".svg", ".ttf")  # icons for browsers that cannot run WebAssembly
KERNEL = "@jupyterlite/pyodide-kernel-extension"


def run(*command: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """The output of a command. Raises SystemExit with that output if the command fails."""
    completed = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=env, cwd=cwd
    )
    if completed.returncode:
        sys.exit(
            f"{(completed.stderr or completed.stdout).strip()}\n{Path(command[0]).name} "
            f"{command[1]} failed. Is the network there, and space on the disk? "
            "Then: make lite"
        )
    return completed.stdout


def pack(archive: Path, target: Path, bytecode: Mapping[str, bytes]) -> list[str]:
    """Copy a zip file into the folder `target`, without unused files; return the names in it.

    bytecode: {name: content}, added for the modules that are in the file.
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


def source(name: str) -> str:
    """The source of the bytecode `name` in an archive: beside it, or above its __pycache__."""
    folder, _, module = name.rpartition("__pycache__/")
    return folder + module.split(".")[0] + ".py" if module else name.removesuffix("c")


def packed(wheel: Path, target: Path, bytecode: Mapping[str, bytes]) -> dict[str, Any]:
    """Pack a wheel; return its entry for Pyodide's lock file."""
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


def python(
    pyodide: Path, wheels: Iterable[Path], target: Path, bytecode: Mapping[str, bytes]
) -> list[str]:
    """Write Pyodide's core and all wheels into the folder `target`; return the packages' names."""
    target.mkdir(parents=True)
    for name in CORE:
        shutil.copy(pyodide / name, target)
    pack(pyodide / LIBRARY, target, bytecode)
    packages = [packed(wheel, target, bytecode) for wheel in sorted(wheels)]
    lock = json.loads((pyodide / "pyodide-lock.json").read_text(encoding="utf-8"))
    lock["packages"] = {package["name"]: package for package in packages}
    (target / "pyodide-lock.json").write_text(json.dumps(lock), encoding="utf-8")
    return list(lock["packages"])


def settings(packages: Sequence[str]) -> dict[str, dict[str, Any]]:
    """{name: content} of JupyterLite's settings files.

    All packages are loaded at the start, and none from an index on the internet.
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


def unwanted(app: Path) -> Iterator[Path]:
    """The files that no browser requests."""
    for path in app.rglob("*"):
        old_font = path.suffix in OLD_FONTS and path.parent.name == "build"
        if old_font or path.name.startswith("rspack.config"):
            yield path


def finish(app: Path) -> None:
    """Remove files that no browser requests, and add some that browsers request and JupyterLite
    lacks.

    Raises SystemExit if the page would load Pyodide from another host.
    """
    for path in [*unwanted(app)]:
        path.unlink()
    icons = app / "static/favicons"
    icons.mkdir(parents=True, exist_ok=True)
    for name in ("favicon-notebook.ico", "favicon-busy-1.ico"):
        shutil.copy(app / "notebooks/favicon.ico", icons / name)
    languages = app / "api/translations"
    languages.mkdir(parents=True, exist_ok=True)
    english = {"en": {"displayName": "English", "nativeName": "English"}}
    for name, data in (("all.json", english), ("en.json", {})):
        (languages / name).write_text(json.dumps({"data": data, "message": ""}), encoding="utf-8")
    config = json.loads((app / "jupyter-lite.json").read_text(encoding="utf-8"))
    kernel = config["jupyter-config-data"]["litePluginSettings"][f"{KERNEL}:kernel"]
    if not kernel.get("pyodideUrl", "").startswith("./static/pyodide/"):
        sys.exit(
            f"jupyter-lite.json names {kernel.get('pyodideUrl')} for Pyodide, which is not in {app}"
        )


def download(programs: Path, work: Path, environment: Mapping[str, str]) -> None:
    """Get Pyodide into work/node_modules, and the packages into work/wheels."""
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, work)
    run(
        programs / "npm",
        *("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"),
        cwd=work,
        env=environment,
    )
    run(
        programs / "pip",
        *("download", "--quiet", "--disable-pip-version-check", "--no-deps", *BROWSER),
        *("--require-hashes", "--only-binary=:all:", "--requirement", HERE / "wheels.txt"),
        *("--dest", work / "wheels"),
    )


def main(folder: Path) -> None:
    """Make folder/app with the programs of folder/env, and remove folder/env."""
    folder = folder.resolve()
    programs = folder / "env/bin"
    environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    with tempfile.TemporaryDirectory(dir=folder) as name:
        work = Path(name)
        download(programs, work, environment)
        own = folder / f"env/share/jupyter/labextensions/{KERNEL}/static/pypi"
        wheels = [
            *(work / "wheels").glob("*.whl"),
            *(wheel for name in OF_THE_KERNEL for wheel in own.glob(f"{name}-*.whl")),
        ]
        pyodide = work / "node_modules/pyodide"
        python(pyodide, wheels, work / "first", {})
        # Compile the modules here, once, instead of at each start in a browser.
        compiled = json.loads(run(programs / "node", HERE / "bytecode.mjs", work / "first"))
        bytecode = {name: base64.b64decode(content) for name, content in compiled.items()}
        packages = python(pyodide, wheels, work / "lite/static/pyodide", bytecode)
        for name, content in settings(packages).items():
            (work / "lite" / name).write_text(json.dumps(content), encoding="utf-8")
        run(
            programs / "jupyter-lite",
            *("build", "--lite-dir", work / "lite", "--output-dir", work / "app"),
            cwd=work,
            env=environment,
        )
        finish(work / "app")
        shutil.rmtree(folder / "app", ignore_errors=True)
        (work / "app").rename(folder / "app")
    shutil.rmtree(folder / "env")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
