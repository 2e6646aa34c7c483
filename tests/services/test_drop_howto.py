"""What the page about the drop folder shows can be dropped, and comes back as it says."""

import re
from pathlib import Path

from backburner.domain.batch import RAW_ROUTE
from tests.world import CHAT, a_catalog, a_model, a_world_in_memory

PAGE = (Path(__file__).parents[2] / "docs/howto/use-the-drop-folder.md").read_text(encoding="utf-8")


def test_every_example_of_the_page_is_run_and_answered_where_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    examples = dict(re.findall(r"^`drop/([^`]+)`:\n\n```\w*\n(.*?)^```", PAGE, re.M | re.S))
    scripts = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
    results = set(re.findall(r"`results/([^`]+)`", PAGE))
    for name, content in examples.items():
        path = tmp_path / "drop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    for script in scripts:
        exec(compile(script, "page", "exec"), {})
    model = a_model("mistral-tiny", routes=(CHAT, RAW_ROUTE))
    with a_world_in_memory(catalog=a_catalog(model)) as world:
        files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
        for path in files:
            name = path.relative_to(tmp_path / "drop").as_posix()
            world.notify_upload(world.drop(name, path.read_bytes()))
        world.settle()
        found = {stat.key.removeprefix("results/") for stat in world.blobs.list("results/")}
        assert found == results
        assert not list(world.blobs.list("rejected/"))
    assert len(results) == len(files) - 1  # the template has none
