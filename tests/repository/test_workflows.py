"""Workflows, issue forms, pre-commit and CITATION.cff: valid by their schemas, and what they say holds here."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = {path.stem: path for path in (ROOT / ".github" / "workflows").glob("*.yml")}
FORMS = ROOT / ".github" / "ISSUE_TEMPLATE"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
JOBS = {
    "tests": {"linux", "macos", "lowest"},
    "docs": {"build", "publish"},
    "nightly": {"all"},
    "release": {"tests", "all-tests", "build", "publish"},
}
MAJOR = re.compile(r"[\w.-]+/[\w./-]+@(?:release/)?v\d+")


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(workflow: str) -> list[dict[str, Any]]:
    return [step for job in read(WORKFLOWS[workflow])["jobs"].values() for step in job.get("steps", [])]


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("github-workflows", sorted(WORKFLOWS.values())),
        ("github-issue-forms", [FORMS / "bug.yml", FORMS / "feature.yml"]),
        ("github-issue-config", [FORMS / "config.yml"]),
        ("citation-file-format", [ROOT / "CITATION.cff"]),
    ],
)
def test_files_fit_their_schema(schema: str, files: list[Path]) -> None:
    """The schemas lie in check-jsonschema's wheel."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    command += ["--default-filetype", "yaml", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_workflows_have_their_jobs() -> None:
    assert {name: set(read(path)["jobs"]) for name, path in WORKFLOWS.items()} == JOBS


def test_actions_are_pinned_to_majors() -> None:
    used = [step["uses"] for name in WORKFLOWS for step in steps(name) if "uses" in step]
    assert used
    assert [action for action in used if not MAJOR.fullmatch(action)] == []


def test_workflows_call_the_test_script() -> None:
    runs = {name: [step["run"] for step in steps(name) if "run" in step] for name in ("tests", "nightly")}
    assert [run for name in runs for run in runs[name] if not run.startswith("bash scripts/test.sh")] == []
    assert runs["nightly"] == ["bash scripts/test.sh --all"]
    named = [word for run in runs["tests"] for word in run.split() if word.startswith("tests/")]
    assert [path for path in named if not (ROOT / path).is_file()] == []


def test_matrix_is_that_of_the_classifiers() -> None:
    tested = read(WORKFLOWS["tests"])["jobs"]["linux"]["strategy"]["matrix"]["python"]
    prefix = "Programming Language :: Python :: 3."
    assert tested == [f"3.{text.removeprefix(prefix)}" for text in PROJECT["classifiers"] if text.startswith(prefix)]
    assert PROJECT["requires-python"] == f">={tested[0]}"


def test_release_is_by_trusted_publishing() -> None:
    """No secret, an identity token for the publishing job alone, and all tests before."""
    text = WORKFLOWS["release"].read_text(encoding="utf-8")
    jobs = read(WORKFLOWS["release"])["jobs"]
    assert "secrets." not in text
    assert "password" not in text
    assert {name for name, job in jobs.items() if "id-token" in job.get("permissions", {})} == {"publish"}
    assert jobs["build"]["needs"] == ["tests", "all-tests"]


def test_bug_form_asks_for_the_doctor() -> None:
    asked = [f"{item['attributes']}" for item in read(FORMS / "bug.yml")["body"] if item["type"] == "textarea"]
    assert any("cutler doctor" in text for text in asked)


def test_precommit_runs_pinned_hooks() -> None:
    repositories = read(ROOT / ".pre-commit-config.yaml")["repos"]
    assert all(re.fullmatch(r"v?\d+\.\d+\.\d+", entry["rev"]) and entry["hooks"] for entry in repositories)
