"""The page that puts us beside what people would use instead."""

from xml.etree import ElementTree

import pytest

from benchmarks.peers import effects, page, plot, results, roster
from benchmarks.peers.results import Row

RECORDED = results.load()

ANEW = "write it again: python -m benchmarks.peers --render"


def test_the_page_says_what_was_measured():
    assert page.FILE.read_text(encoding="utf-8") == page.render(RECORDED), ANEW


def test_the_plot_shows_what_was_measured():
    text = plot.FILE.read_text(encoding="utf-8")
    assert text == plot.render(RECORDED), ANEW
    shown = {node.text for node in ElementTree.fromstring(text).iter() if node.text}
    for name, row in RECORDED.items():
        if row.rounds:
            assert roster.BY_NAME[name].title.replace("**", "") in shown


@pytest.mark.parametrize("peer", roster.PEERS, ids=lambda peer: peer.name)
def test_a_peer_that_was_never_measured_has_no_figures(peer):
    told = page.render({peer.name: Row(trouble=["speed: redis-server is not there"])})
    assert f"| {peer.title} |  |  |  |  |  |  |" in told
    assert "redis-server is not there" in told


def test_what_is_measured_again_takes_the_place_of_what_it_was():
    old = {"celery": Row(rounds=[{"end_rate": 1.0}], crashes=[{"lost": 2}]), "rq": Row()}
    merged = results.merge(old, {"celery": Row(rounds=[{"end_rate": 3.0}])})
    assert merged["celery"].rounds == [{"end_rate": 3.0}]
    assert merged["celery"].crashes == [{"lost": 2}]
    assert merged["rq"] == Row()


def test_every_run_of_a_job_is_counted(tmp_path, monkeypatch):
    monkeypatch.setenv(effects.FILE, str(tmp_path / "effects"))
    for number in (7, 8, 7):
        effects.work(number, effects.PAYLOAD)
    runs = effects.runs(tmp_path / "effects")
    assert {number: len(moments) for number, moments in runs.items()} == {7: 2, 8: 1}
    with pytest.raises(ValueError, match="payload"):
        effects.work(9, "something else")
