"""Validate the course's notebooks against their stored outputs, or refresh those outputs.

    python -m tools.validate.runner validate [--changed] [--explain]
                                             [--on slurm [--resume]] [NAME ...]
    python -m tools.validate.runner refresh [NAME ...]

Each notebook runs under nbval in a sandbox of its own, from a copy of its folder, offline, two more
at a time than there are processor cores, if their declared memory fits, the longest first. NAME is
a notebook's name without its ending; none means all, and for refresh those that failed in the last
run. With --changed those are left out that passed and can see nothing that changed since; --explain
says for each why it runs (see changes.py).
"""

import argparse
import os
import sys
from collections.abc import Sequence

from tools.files import ROOT
from tools.validate import catalogue, changes, local, requirements, sandbox, slurm
from tools.validate import report as reports
from tools.validate.catalogue import StoredNotebook
from tools.validate.result import Result

RECORDS = ROOT / "_build/validated"
WITHOUT_CHANGE = "does not run: it passed, and nothing it can see changed since"


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks for; return the exit status: 0 if no notebook failed."""
    parser = _parser()
    options = parser.parse_intermixed_args(arguments)
    if options.nb:
        options.names += catalogue.named(options.nb)
    if options.resume and (options.names or not options.on):
        parser.exit(
            2,
            "--resume gathers all of the run that is there: make notebooks ON=slurm "
            "RESUME=1, without NB\n",
        )
    try:
        notebooks = catalogue.load(options.names)
    except ValueError as error:
        parser.exit(2, f"{error}\n")
    if options.task == "refresh":
        return _refresh(notebooks, options, parser)
    try:
        return _validate(notebooks, options)
    except slurm.SlurmError as error:
        parser.exit(1, f"{error}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tools.validate.runner",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("task", choices=["validate", "refresh"])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument(
        "--nb",
        default="",
        metavar="'NAME ...'",
        help="more names in one text, as a make variable has them",
    )
    parser.add_argument(
        "--changed", action="store_true", help="run only what something changed for since it passed"
    )
    parser.add_argument("--explain", action="store_true", help="say why each runs, or does not")
    parser.add_argument("--on", choices=["slurm"], help="run them as jobs (see slurm.py)")
    parser.add_argument(
        "--resume", action="store_true", help="gather the jobs of a run whose terminal has ended"
    )
    return parser


def _refresh(
    notebooks: list[StoredNotebook], options: argparse.Namespace, parser: argparse.ArgumentParser
) -> int:
    """Refresh the notebooks that were named, or those that failed in the last run; return the exit
    status.
    """
    # nbformat and jupytext take long to import, and a validation does without them.
    from tools.validate import refresh

    if not options.names:
        notebooks = [
            notebook
            for notebook in notebooks
            if changes.load_record(RECORDS, notebook.name).get("outcome") == "failed"
        ]
        if not notebooks:
            parser.exit(
                2,
                "Nothing failed in the last run. Which notebook? make refresh "
                "NB=01-first-notebook\n",
            )
    accept = refresh.ask if sys.stdin.isatty() else lambda name: True
    return 0 if refresh.refresh(notebooks, accept) else 1


def _validate(notebooks: list[StoredNotebook], options: argparse.Namespace) -> int:
    """Find out which notebooks run, run them, say what became of each as soon as it is known;
    return the exit status. Raises SlurmError.
    """
    surroundings = changes.Surroundings()
    why = why_run(notebooks, surroundings, options)
    by_name = {notebook.name: notebook for notebook in notebooks}
    if options.explain:
        for name, reason in why.items():
            print(f"{name:24}{f'runs: {reason}' if reason else WITHOUT_CHANGE}")

    differences: dict[str, str] = {}  # of the outputs of what failed

    def report(result: Result) -> None:
        print(reports.describe(result))
        difference = reports.difference(result, by_name[result.name], requirements.NBDIFF)
        differences[result.name] = difference
        print(difference, end="", flush=True)

    to_run = [notebook for notebook in notebooks if why[notebook.name]]
    results = [Result(name, "unchanged") for name in by_name if not why[name]]
    if options.on:
        try:
            results += slurm.validate(to_run, report, options.resume)
        except KeyboardInterrupt:
            print("stopped; its jobs are cancelled", file=sys.stderr)
            sys.exit(130)
    elif to_run:
        results += local.validate(to_run, report, RECORDS, surroundings)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        print(*reports.annotations(results), sep="\n")
    line = summary(results)
    print(reports.write(ROOT / "_build", reports.page(results, by_name, differences, line)))
    print(line)
    return 1 if any(result.outcome == "failed" for result in results) else 0


def why_run(
    notebooks: Sequence[StoredNotebook],
    surroundings: changes.Surroundings,
    options: argparse.Namespace,
) -> dict[str, str | None]:
    """For each notebook's name why it runs, None if it need not."""
    if options.on:
        return {notebook.name: "each job runs on a machine of its own" for notebook in notebooks}
    if options.names or not options.changed:
        return {notebook.name: "it was asked for" for notebook in notebooks}
    return {
        notebook.name: changes.why_run(notebook, surroundings, RECORDS)
        or changes.drift(notebook, changes.load_record(RECORDS, notebook.name))
        for notebook in notebooks
    }


def summary(results: Sequence[Result]) -> str:
    """One line that says how many notebooks passed, failed, were skipped and did not run, and under
    which conditions.
    """
    count = {
        outcome: sum(result.outcome == outcome for result in results)
        for outcome in ("passed", "failed", "skipped", "unchanged")
    }
    line = ", ".join(
        f"{number} {outcome}"
        for outcome, number in count.items()
        if number or outcome in ("passed", "failed")
    )
    ran = count["unchanged"] < len(results)
    return f"notebooks: {line}" + (
        f"; not isolated: {sandbox.obstacle()}" if ran and sandbox.obstacle() else ""
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
