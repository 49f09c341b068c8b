"""The patterns for what may differ between two runs of a notebook, from sanitize.toml."""
import tomllib
from pathlib import Path

FILE = Path(__file__).with_name("sanitize.toml")


def load(path=FILE):
    """Return the patterns, a list of dicts with regex, replace, why, changes and keeps."""
    return tomllib.loads(Path(path).read_text(encoding="utf-8")).get("pattern", [])


def nbval_file(patterns):
    """Return the text that `--nbval-sanitize-with` reads; its two lines a pattern must be adjacent and literal."""
    return "".join(f"regex: {pattern['regex']}\nreplace: {pattern['replace']}\n" for pattern in patterns)
