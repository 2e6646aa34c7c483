"""What an artifact consists of, and that an endpoint can run it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backburner_model.packaging import UnfitModel, artifact_of
from tests.model.servers import MODEL_DIR, SHIPPED_MODEL, Server, end, read_port

#: Runs in an interpreter that knows our source by no other way than the artifact.
IN_THE_CONTAINER = """
import asyncio, importlib.util, json, os, sys
sys.path[:] = [path for path in sys.path if not path.startswith(os.environ["NOT_FROM"])]
assert importlib.util.find_spec("backburner_model") is None, "our source is still there"
for absent in ("aiohttp", "uvicorn", "openvino_genai", "tokenizers", "botocore", "click", "yaml"):
    sys.modules[absent] = None  # the container may have them or not
import httpx
from fastapi import FastAPI, Request
from model_hosting_container_standards.sagemaker import bootstrap

app = FastAPI()

@app.post("/v1/chat/completions")
async def chat(request: Request):
    return {"echo": (await request.json())["messages"]}

bootstrap(app)

async def main():
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        ping = await client.get("/ping")
        shard = await client.post(
            "/invocations", content=sys.argv[1], headers={"content-type": "application/jsonl"}
        )
    import backburner_model
    print(json.dumps([ping.status_code, shard.text, backburner_model.__file__]))

asyncio.run(main())
"""


def safetensors(path: Path, *, cut: int = 0, content: bytes = b"12345678") -> None:
    tensor = {"dtype": "I8", "shape": [len(content)], "data_offsets": [0, len(content)]}
    header = json.dumps({"__metadata__": {"format": "pt"}, "weight": tensor}).encode()
    whole = len(header).to_bytes(8, "little") + header + content
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(whole[: len(whole) - cut])


@pytest.fixture
def folder(tmp_path):
    """A model in two files, as a hub has it."""
    folder = tmp_path / "model"
    for number in (1, 2):
        safetensors(folder / f"model-0000{number}-of-00002.safetensors")
    names = {f"layer.{n}": f"model-0000{n}-of-00002.safetensors" for n in (1, 2)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    return folder


def names_of(folder: Path, **options: Any) -> set[str]:
    entries = artifact_of(folder, **options).entries
    return {entry.name for entry in entries if not entry.name.startswith("backburner_model/")}


def test_the_weights_go_along_with_our_script_and_package(folder):
    artifact = artifact_of(folder)
    names = [entry.name for entry in artifact.entries]
    assert names_of(folder) == {
        *("config.json", "tokenizer.json", "model.py", "model.safetensors.index.json"),
        *("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
    }
    assert {"backburner_model/handlers.py", "backburner_model/engines/asgi.py"} <= set(names)
    assert names == sorted(names)
    assert artifact.size == sum(entry.source.stat().st_size for entry in artifact.entries)


def test_of_two_copies_of_the_weights_only_one_goes_along(folder):
    (folder / "params.json").write_text("{}")
    safetensors(folder / "consolidated.safetensors")
    hf = artifact_of(folder)
    mistral = artifact_of(folder, weights="mistral")
    assert (hf.format, hf.left_out) == ("hf", ("consolidated.safetensors",))
    assert "consolidated.safetensors" in names_of(folder, weights="mistral")
    assert "model.safetensors.index.json" in mistral.left_out
    (folder / "config.json").unlink()
    assert artifact_of(folder).format == "mistral"


@pytest.mark.parametrize(
    "name",
    [".gitattributes", ".cache/x.json", "pytorch_model.bin", "onnx/model.onnx", "onnx/config.json"],
)
def test_what_the_container_does_not_need_stays_behind_unless_asked_for(folder, name):
    for path in {name, "onnx/model.onnx"}:
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(b"x")
    assert name in artifact_of(folder).left_out
    assert name in names_of(folder, include=[name])


def test_small_folders_of_a_model_go_along(folder):
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text("{}")
    assert "1_Pooling/config.json" in names_of(folder)


def test_an_artifact_can_be_packaged_again_with_our_present_code(folder):
    before = names_of(folder)
    (folder / "backburner_model").mkdir()
    (folder / "backburner_model/long_gone.py").write_text("")
    (folder / "backburner-package.json").write_text("{}")
    (folder / "model.py").write_bytes((MODEL_DIR / "model.py").read_bytes())
    artifact = artifact_of(folder)
    assert names_of(folder) == before
    assert artifact.left_out == ("backburner-package.json", "backburner_model/long_gone.py")


def test_the_links_of_a_hubs_cache_become_files(folder, tmp_path):
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for file in folder.iterdir():
        (snapshot / file.name).symlink_to(file)
    assert names_of(snapshot) == names_of(folder)
    assert artifact_of(snapshot).size == artifact_of(folder).size


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def write(name: str, content: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    return change


def remove_weights(folder: Path) -> None:
    for path in folder.glob("*.safetensors*"):
        path.unlink()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (remove("config.json"), "no params.json"),
        (write("config.json", b"{"), "config.json is not valid JSON"),
        (write("config.json", b"[]"), "no JSON object"),
        (remove("tokenizer.json"), "no tokenizer"),
        (remove_weights, "no safetensors"),
        (remove("model-00002-of-00002.safetensors"), "not there: model-00002"),
        (write("model.safetensors.index.json", b"{}"), "weight_map"),
        (
            write("model-00001-of-00002.safetensors", b"version https://git-lfs.github.com/spec"),
            "git lfs pull",
        ),
        (write("model-00001-of-00002.safetensors", b"\2" + b"\0" * 7 + b"{!"), "no safetensors"),
        (
            lambda folder: safetensors(folder / "model-00001-of-00002.safetensors", cut=1),
            "not whole",
        ),
        (write("model.py", b"print()"), "model.py of its own"),
        (write("backburner_model", b""), "a file and a folder"),
        (write("folder/" * 80 + "x", b"x"), "too long"),
        (lambda folder: (folder / "gone").symlink_to("nowhere"), "link to nothing"),
        (lambda folder: (folder / "loop").symlink_to(folder), "a folder that it lies in"),
    ],
)
def test_a_folder_that_no_endpoint_could_load_is_refused_with_the_reason(folder, change, reason):
    change(folder)
    with pytest.raises(UnfitModel, match=re.escape(reason)):
        artifact_of(folder)


def test_no_folder_no_model(tmp_path):
    with pytest.raises(UnfitModel, match="no folder"):
        artifact_of(tmp_path / "nowhere")


@pytest.fixture
def packaged(tmp_path, monkeypatch):
    """The shipped model as its instance finds it; nothing else of ours can be imported."""
    from backburner_local.packages import write_folder

    folder = tmp_path / "opt/ml/model"
    write_folder(artifact_of(SHIPPED_MODEL), folder, tell=lambda line: None)
    assert not [path for path in folder.rglob("*") if path.is_symlink()]
    monkeypatch.delenv("PYTHONPATH")
    return folder


def test_the_container_finds_the_handlers_in_the_artifact_and_nowhere_else(packaged, line_of):
    ran = subprocess.run(
        [sys.executable, "-I", "-c", IN_THE_CONTAINER, json.dumps(line_of(7))],
        env={**os.environ, "SAGEMAKER_MODEL_PATH": str(packaged), "NOT_FROM": str(MODEL_DIR)},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ran.returncode == 0, ran.stderr
    status_code, shard, imported_from = json.loads(ran.stdout)
    assert (status_code, Path(imported_from).parent.parent) == (200, packaged)
    outcome = json.loads(shard)
    assert (outcome["line"], outcome["status_code"]) == (7, 200)
    assert outcome["body"]["echo"] == line_of(7)["body"]["messages"]


def test_our_server_runs_from_the_artifact(packaged, line_of):
    code = "import runpy, sys; sys.path.insert(0, sys.argv.pop(1));"
    code += "runpy.run_module('backburner_model.server', run_name='__main__')"
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", code, str(packaged), "--engine", "null", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        server = Server(process, read_port(process))
        assert server.send("GET", "/ping").status == 200
        assert [o["status_code"] for o in server.invoke_shard([line_of(1)]).outcomes] == [200]
    finally:
        end(process)
