"""The generated notebooks by which growth is measured are varied, the same for the same seed, and
pass.
"""

from tools.bench import generate
from tools.course import pairs
from tools.validate import catalogue, local, report


def files(folder):
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path):
    for name, seed in {"a": 1, "b": 1, "c": 2}.items():
        generate.make(tmp_path / name, 5, seed)
    assert files(tmp_path / "a") == files(tmp_path / "b") != files(tmp_path / "c")


def test_they_are_varied_pairs_in_step(tmp_path):
    generate.make(tmp_path, 40)
    text = "".join(path.read_text() for path in tmp_path.glob("*.ipynb"))
    assert not pairs.check(tmp_path) and all(
        word in text for word in ("image/png", "text/html", "ValueError", '"bash"', '"python3"')
    )


def test_their_stored_outputs_are_what_a_run_gives(tmp_path):
    generate.make(tmp_path, 40)
    kernels = {
        notebook.name: notebook.metadata["kernelspec"]["name"]
        for notebook in catalogue.load(folder=tmp_path)
    }
    bash = next(name for name, kernel in kernels.items() if kernel == "bash")
    results = local.validate(catalogue.load(["0000", "0001", "0002", bash], tmp_path))
    assert [report.describe(result) for result in results if result.outcome != "passed"] == []
