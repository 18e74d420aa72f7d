"""What the documents say is what the code does."""

import re
from pathlib import Path

import pytest

from downloader import config, errors
from web.openapi import faults
from web.openapi.operation import Fault

ROOT = Path(__file__).parents[2]
OPERATING = (ROOT / "docs" / "operating.md").read_text()
LOCKS = ("requirements.lock", "requirements-dev.lock")


def pinned(name: str) -> dict[str, set[str]]:
    """Every package of a lock file with its versions (one, or one per Python)."""
    found: dict[str, set[str]] = {}
    for package, version in re.findall(r"^([a-z0-9.-]+)==([^\s;\\]+)", (ROOT / name).read_text(), re.MULTILINE):
        found.setdefault(package, set()).add(version)
    return found


def rows(text: str) -> list[list[str]]:
    """The cells of every table row, without headings and rules."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_variable_is_described_and_no_other():
    section = OPERATING.partition("## Variables")[2].partition("\n## ")[0]
    described = {name for row in rows(section) for name in row[0].split(", ")} - {"Variable"}
    assert described == {name for names, _, _ in config.variables() for name in names}


def test_every_number_or_truth_of_a_default_is_true():
    section = OPERATING.partition("## Variables")[2].partition("\n## ")[0]
    defaults = {row[0].split(", ")[0]: row[2] for row in rows(section)}
    for names, _, default in config.variables():
        if isinstance(default, bool):
            assert f"`{str(default).lower()}`" in defaults[names[0]], names
        elif isinstance(default, int | float):
            assert f"`{default:g}`" in defaults[names[0]] or f"`{default}`" in defaults[names[0]], names


def test_every_variable_of_the_compose_file_is_described():
    section = OPERATING.partition("### With Docker Compose")[2].partition("\n## ")[0]
    described = {name for row in rows(section) for name in row[0].split(", ")} - {"Variable"}
    used = set(re.findall(r"\$\{([A-Z0-9_]+)", (ROOT / "compose.yaml").read_text()))
    assert described == used


def test_every_error_code_is_described():
    section = OPERATING.partition("## Error codes")[2].partition("\n## ")[0].partition("Of a request,")[0]
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "code")]
    assert len(classes) > 10
    in_table = {row[0] for row in rows(section)} - {"Code"}
    mentioned = in_table | set(re.findall(r"`([a-z_]+)`", section))
    assert {kind.code for kind in classes} <= mentioned
    assert in_table <= {kind.code for kind in classes}


def test_every_code_of_a_refused_request_is_described_with_its_status():
    section = OPERATING.partition("Of a request, in")[2].partition("\n## ")[0]
    described = {(int(row[0]), code) for row in rows(section)[1:] for code in re.findall(r"`([a-z_]+)`", row[1])}
    others = {(int(status), "bad_request") for status in re.findall(r"also ([\d, ]+)", section)[0].split(", ")}
    found = [value for value in vars(faults).values() if isinstance(value, Fault)]
    assert described | others == {(fault.status, fault.code) for fault in (*found, *faults.ELSEWHERE)}


def test_every_installed_package_has_its_notice():
    noticed = {row[0] for row in rows((ROOT / "THIRD_PARTY_NOTICES.md").read_text())} - {"Package"}
    assert noticed == set(pinned("requirements.lock"))


def test_both_locks_pin_the_same_versions():
    runtime, everything = map(pinned, LOCKS)
    assert set(runtime) < set(everything)
    assert {name: everything[name] for name in runtime} == runtime


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_machine_and_hashes_everything(name):
    text = (ROOT / name).read_text()
    assert "://" not in text
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in entry for entry in entries)


def test_every_direct_dependency_is_pinned():
    wanted = re.findall(
        r"^    ([a-z0-9-]+)",
        (ROOT / "setup.cfg").read_text().partition("install_requires =")[2].partition("[options.packages")[0],
        re.MULTILINE,
    )
    assert len(wanted) > 20
    assert set(wanted) <= set(pinned("requirements-dev.lock"))


def test_the_licence_is_there():
    assert "GNU GENERAL PUBLIC LICENSE" in (ROOT / "LICENSE").read_text()


DOCUMENTS = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]


def anchors(text: str) -> set[str]:
    """What a link may point to within a page, as GitHub names its headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_between_documents_lead_somewhere(document):
    path = ROOT / document
    for link in re.findall(r"\]\(([^)]+)\)", path.read_text()):
        if "://" not in link:
            file, _, anchor = link.partition("#")
            target = path.parent / file if file else path
            assert target.exists(), link
            assert not anchor or anchor in anchors(target.read_text()), link


def test_the_readme_leads_to_every_document():
    linked = set(re.findall(r"\]\((docs/[^)#]+)", (ROOT / "README.md").read_text()))
    told_elsewhere = {"docs/fetch.md", "docs/storm-report.md"}
    assert linked | told_elsewhere == set(DOCUMENTS) - {"README.md"}


def test_commands_of_the_documents_run_as_they_are_typed():
    """From a checkout, where neither Python nor pytest knows the project unless it is that of .venv."""
    for document in DOCUMENTS:
        typed = re.findall(r"(?:^ {4}|`)((?:python3? -m|pytest)\b[^`\n]*)", (ROOT / document).read_text(), re.MULTILINE)
        assert [command for command in typed if document != "docs/storm-report.md"] == []


def test_make_targets_of_the_readme_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^make ([a-z]+)", (ROOT / "README.md").read_text(), re.MULTILINE)) <= targets
