"""The page of results, as the benchmarks write it."""

from benchmarks import bench, page

TITLES = ["First", "Second", "Third"]


def test_a_section_that_is_measured_anew_leaves_the_others_as_they_were(tmp_path):
    results = tmp_path / "results.md"
    page.write(results, {"Third": "three", "First": "one"}, TITLES)
    page.write(results, {"Second": "two", "First": "new"}, TITLES)
    written = results.read_text(encoding="utf-8")
    assert written.startswith("# Benchmarks\n")
    assert written.partition("\n## ")[2] == (
        "First\n\nnew\n\n## Second\n\ntwo\n\n## Third\n\nthree\n"
    )


def test_a_section_that_no_longer_exists_goes(tmp_path):
    results = tmp_path / "results.md"
    page.write(results, {"First": "one", "Second": "two"}, TITLES)
    assert "two" not in page.write(results, {}, ["First", "Third"])


def test_each_section_has_a_title_of_its_own():
    titles = [title for title, _ in bench.SECTIONS.values()]
    assert len(set(titles)) == len(titles)
