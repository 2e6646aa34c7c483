"""The documents say what is there."""

import re
from pathlib import Path

import pytest

from backburner.services import records
from backburner.web import gateway
from tests.docs import cli_reference

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_page_of_the_command_line_is_its_help():
    page = (ROOT / "docs/reference/cli.md").read_text(encoding="utf-8")
    assert page == cli_reference.render(), (
        "python -m tests.docs.cli_reference > docs/reference/cli.md"
    )


def test_every_route_is_documented_and_every_documented_route_is_there():
    page = (ROOT / "docs/reference/http.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(GET|POST|DELETE) ([^` ]+)` \|", page, re.MULTILINE))
    routes = (*gateway.ROUTES, *gateway.SIGNED)
    there = {(m, re.sub(r"<(\w+)>", r"{\1}", rule)) for m, rule, _ in routes}
    assert documented == there | {("GET", path) for path in gateway.OPEN}


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_that_is_named_exists(page):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`make ([a-z0-9-]+)", page.read_text(encoding="utf-8")):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_items_of_the_store_are_listed_where_their_keys_are_made():
    listed = re.findall(r"^\| ([a-zA-Z ]+?) \| `", records.__doc__ or "", re.MULTILINE)
    assert {"batch", "shard", "delivery", "file", "pool", "API key"} <= set(listed)
