"""A model's artifact put into a bucket, with the command that does it."""

import json
from contextlib import contextmanager

import pytest
from click.testing import CliRunner, Result

from backburner.adapters.s3 import S3Blobs
from backburner.ports import Blobs
from backburner_local import packages
from backburner_local.adapters.clock import FixedClock
from backburner_local.adapters.files import DirectoryBlobs
from backburner_local.cli import main
from backburner_model.packaging import MANIFEST, Artifact, UnfitModel, artifact_of
from tests.contract.on_moto import moto_clients
from tests.model.servers import SHIPPED_MODEL

PREFIX = "models/mistral/"
BUCKET = "bucket"


@contextmanager
def directory(folder):
    yield DirectoryBlobs(
        folder / "blobs", BUCKET, FixedClock(), b"key", "http://127.0.0.1", durable=False
    )


@contextmanager
def bucket(folder):
    with moto_clients() as clients:
        clients.s3.create_bucket(Bucket=BUCKET)
        yield S3Blobs(clients, BUCKET)


@pytest.fixture(params=[directory, bucket])
def blobs(request, tmp_path):
    with request.param(tmp_path) as blobs:
        yield blobs


@pytest.fixture
def artifact():
    return artifact_of(SHIPPED_MODEL)


def upload(artifact: Artifact, blobs: Blobs) -> tuple[int, list[str]]:
    told: list[str] = []
    return packages.upload(artifact, blobs, PREFIX, tell=told.append), told


def test_every_file_arrives_whole_below_the_prefix(artifact, blobs):
    sent, told = upload(artifact, blobs)
    there = {stat.key: stat.size for stat in blobs.list(PREFIX)}
    manifest = PREFIX + MANIFEST
    assert there.keys() == {PREFIX + entry.name for entry in artifact.entries} | {manifest}
    assert not [key for key in there if key.endswith("/")]
    assert sent == artifact.size == sum(there.values()) - there[manifest]
    weights = (SHIPPED_MODEL / "model.safetensors").read_bytes()
    assert blobs.get(PREFIX + "model.safetensors") == weights
    assert len(told) == len(artifact.entries)


def test_what_is_there_already_is_not_sent_again(artifact, blobs):
    upload(artifact, blobs)
    sent, told = upload(artifact, blobs)
    assert sent == 0
    assert all(line.startswith("there already") for line in told)


def test_a_file_that_is_other_or_gone_is_sent_again(artifact, blobs):
    upload(artifact, blobs)
    kept = json.loads(blobs.get(PREFIX + MANIFEST))
    kept["config.json"]["sha256"] = "another"
    blobs.put(PREFIX + MANIFEST, json.dumps(kept).encode())
    blobs.put(PREFIX + "tokenizer.json", b"cut off")
    blobs.delete(PREFIX + "model.safetensors")
    _, told = upload(artifact, blobs)
    sent = {line.split()[1] for line in told if line.startswith("sent")}
    assert sent == {"config.json", "tokenizer.json", "model.safetensors"}
    assert upload(artifact, blobs)[0] == 0


def test_a_run_that_was_cut_off_goes_on_where_it_was(artifact, blobs):
    def stop(line):
        if "config.json" in line:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        packages.upload(artifact, blobs, PREFIX, tell=stop)
    _, told = upload(artifact, blobs)
    assert any(line.startswith("there already") for line in told)
    assert any(line.startswith("sent") for line in told)


def test_a_prefix_with_something_else_in_it_is_refused(artifact, blobs):
    blobs.put(PREFIX + "model-00001-of-00099.safetensors", b"of another model")
    with pytest.raises(UnfitModel, match="model-00001-of-00099"):
        upload(artifact, blobs)
    assert len(list(blobs.list(PREFIX))) == 1


def test_a_folder_marker_of_the_console_is_refused(artifact, tmp_path):
    with bucket(tmp_path) as blobs:
        blobs.put(PREFIX, b"")
        with pytest.raises(UnfitModel, match="folder marker"):
            upload(artifact, blobs)


# ---------------------------------------------------------------- the command


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["package-model", *arguments])


def test_the_command_ends_with_the_templates_parameter(monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with moto_clients() as clients:
        clients.s3.create_bucket(Bucket=BUCKET)
        ran = run(str(SHIPPED_MODEL), "--to", f"s3://{BUCKET}/{PREFIX}", "--region", "us-east-1")
        assert ran.exit_code == 0, ran.output
        assert ran.output.splitlines()[-1] == f"ModelS3Uri=s3://{BUCKET}/{PREFIX}"
        assert "left out       openvino/openvino_model.xml" in ran.output
        missing = run(str(SHIPPED_MODEL), "--to", "s3://nowhere/m/", "--region", "us-east-1")
    assert (missing.exit_code, "bucket" in missing.output) == (4, True), missing.output


def test_the_command_lays_the_artifact_out_in_an_empty_folder_only(tmp_path):
    out = tmp_path / "out"
    assert run(str(SHIPPED_MODEL), "--out", str(out)).exit_code == 0
    assert (out / "model.safetensors").stat().st_size == 7_873_064
    again = run(str(SHIPPED_MODEL), "--out", str(out))
    assert (again.exit_code, again.output.splitlines()[-1]) == (2, f"{out} is not empty.")


def test_a_model_of_the_hub_is_packaged_from_its_cache(monkeypatch, tmp_path):
    # Given the hub's cache: a snapshot of links to blobs
    commit = "0123456789abcdef0123456789abcdef01234567"
    model = tmp_path / "hub/models--acme--tiny"
    snapshot = model / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (model / "blobs").mkdir()
    (model / "refs").mkdir()
    (model / "refs/main").write_text(commit)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (model / "blobs" / name).write_bytes((SHIPPED_MODEL / name).read_bytes())
        (snapshot / name).symlink_to(f"../../blobs/{name}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    # When it is packaged by its name, and by a revision
    for number, source in enumerate(["hub:acme/tiny", f"hub:acme/tiny@{commit}"]):
        out = tmp_path / f"out{number}"
        ran = run(source, "--out", str(out))
        # Then there are files where links were
        assert ran.exit_code == 0, ran.output
        assert (out / "model.safetensors").stat().st_size == 7_873_064
        assert not (out / "model.safetensors").is_symlink()


@pytest.mark.parametrize(
    ("source", "code", "reason"), [("hub:a//b", 2, "Repo id"), ("hub:a/b", 1, "can't be read")]
)
def test_what_the_hub_does_not_have_is_told(monkeypatch, tmp_path, source, code, reason):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    ran = run(source, "--out", str(tmp_path / "out"))
    assert (ran.exit_code, reason in ran.output) == (code, True), ran.output


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "either --to or --out"),
        (["--out", "x", "--to", "s3://b/c/"], "either --to or --out"),
        (["--to", "s3://bucket/models/name"], "a slash at its end"),
        (["--to", "s3://bucket/"], "a slash at its end"),
        (["--out", "x"], "no params.json"),
    ],
)
def test_wrong_use_is_told(tmp_path, arguments, reason):
    ran = run(str(tmp_path), *arguments)
    assert (ran.exit_code, reason in ran.output) == (2, True), ran.output
