"""What the functions import there is what they import on AWS."""

from pathlib import Path

from tests.e2e_aws.ministack import ROOT


def pins(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").lower().replace("-", "_").splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def test_the_emulator_has_the_packages_of_the_layer_in_the_same_versions():
    """But for botocore, of which ministack wants one version and no other."""
    layer = pins(ROOT / "layers" / "dependencies" / "requirements.txt")
    there = pins(ROOT / "constraints-aws.txt")
    other = {name for name, version in layer.items() if there.get(name) != version}
    assert other == {"botocore"}
