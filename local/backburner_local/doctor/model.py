"""Whether an endpoint could load its model: the artifact and the container image."""

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from botocore.exceptions import ClientError

from backburner_local.deployed import Account
from backburner_local.doctor.findings import Finding, Patient, Result

_ARTIFACT, _IMAGE = "model", "image"
_LOCATION = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(.*)")

#: An artifact has some dozen files; whoever points at a whole bucket need not wait.
_MOST_KEYS = 5000

#: Accounts of the deep learning containers; the template has the same ones, Region by Region.
_USUAL_ACCOUNT = "763104351884"
_ACCOUNTS = {
    "af-south-1": "626614931356",
    "ap-east-1": "871362719292",
    "ap-east-2": "975050140332",
    "ap-northeast-3": "364406365360",
    "ap-south-2": "772153158452",
    "ap-southeast-3": "907027046896",
    "ap-southeast-4": "457447274322",
    "ap-southeast-5": "550225433462",
    "ap-southeast-6": "633930458069",
    "ap-southeast-7": "590183813437",
    "ca-west-1": "204538143572",
    "cn-north-1": "727897471807",
    "cn-northwest-1": "727897471807",
    "eu-central-2": "380420809688",
    "eu-south-1": "692866216735",
    "eu-south-2": "503227376785",
    "il-central-1": "780543022126",
    "me-central-1": "914824155844",
    "me-south-1": "217643126080",
    "me-west-1": "124382933778",
    "mx-central-1": "637423239942",
}
_VLLM = "vllm:server-sagemaker-cuda-v2.3"
_URI = re.compile(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/([^:@]+)([:@])(.+)")


def check_artifact(account: Account, patient: Patient) -> Iterator[Finding]:
    """Check the prefix that instances download: a mistake there shows only after minutes."""
    if not patient.model_uri:
        yield Finding(_ARTIFACT, Result.SKIP, "no artifact is named", "Give --model-uri.")
        return
    location = _LOCATION.fullmatch(patient.model_uri)
    if location is None or not location[2].endswith("/"):
        detail = f"{patient.model_uri} is not s3://BUCKET/PREFIX/"
        yield Finding(_ARTIFACT, Result.FAIL, detail, "The slash at its end is needed.")
        return
    bucket, prefix = location.groups()
    home = _region(account, bucket)
    if home != account.region:
        advice = f"Copy the artifact to a bucket in {account.region}, where the endpoint will be."
        yield Finding(_ARTIFACT, Result.FAIL, f"the bucket {bucket} is in {home}", advice)
    pages = account.clients.s3.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix=prefix
    )
    objects = (found for page in pages for found in page.get("Contents", []))
    sizes = {o["Key"].removeprefix(prefix): o["Size"] for o in islice(objects, _MOST_KEYS)}
    wrong = list(_faults(sizes))
    for detail, advice in wrong:
        yield Finding(_ARTIFACT, Result.FAIL, f"{patient.model_uri} {detail}", advice)
    if not wrong and home == account.region:
        gigabytes = sum(sizes.values()) / 1e9
        yield Finding(_ARTIFACT, Result.OK, f"{len(sizes)} files, {gigabytes:.2f} GB")


def _region(account: Account, bucket: str) -> str:
    head = account.clients.s3.head_bucket(Bucket=bucket)
    return head.get("BucketRegion") or account.region


def _faults(sizes: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """What is wrong with the files of an artifact, and what to do."""
    upload = (
        "`backburner package-model SOURCE --to s3://BUCKET/PREFIX/` uploads all that is needed."
    )
    if not sizes:
        yield "holds nothing", upload
        return
    if not sizes.keys() & {"config.json", "params.json"}:
        yield "has neither config.json nor params.json", upload
    if not any(name.endswith(".safetensors") for name in sizes):
        yield "has no weights (*.safetensors)", upload
    if "model.py" not in sizes:
        yield "has no model.py: the container would not know shards", upload
    folders = sorted(name for name in sizes if name == "" or name.endswith("/"))
    if folders:
        named = ", ".join(repr(name) for name in folders[:3])
        yield f"holds folder objects ({named}), which break the download", "Delete these objects."
    empty = sorted(n for n, size in sizes.items() if not size and n.endswith(".safetensors"))
    if empty:
        yield f"holds weights without content ({empty[0]})", upload


def vllm_image(region: str) -> str:
    """The AWS vLLM container of a Region."""
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"{_ACCOUNTS.get(region, _USUAL_ACCOUNT)}.dkr.ecr.{region}.{domain}/{_VLLM}"


def check_image(account: Account, patient: Patient) -> Iterator[Finding]:
    """Check that the image is there: SageMaker pulls from private ECR only."""
    image = patient.image_uri or vllm_image(account.region)
    parts = _URI.fullmatch(image)
    if parts is None:
        advice = "SageMaker pulls from a private ECR repository: ACCOUNT.dkr.ecr.REGION.…/NAME:TAG."
        yield Finding(_IMAGE, Result.FAIL, f"{image} is no image of private ECR", advice)
        return
    owner, region, repository, kind, name = parts.groups()
    if region != account.region:
        advice = f"Take the image of {account.region}, where the endpoint will be."
        yield Finding(_IMAGE, Result.FAIL, f"{image} is in {region}", advice)
        return
    wanted: Any = {"imageTag" if kind == ":" else "imageDigest": name}
    answer = _image(account, owner, repository, wanted)
    if answer is None:
        advice = "Whether it may be pulled shows when the endpoint is created."
        yield Finding(_IMAGE, Result.WARN, f"{image} may not be looked at from here", advice)
    elif answer.get("images"):
        yield Finding(_IMAGE, Result.OK, image)
    else:
        yield Finding(_IMAGE, Result.FAIL, f"there is no {image}", "Give another --image-uri.")


def _image(
    account: Account, owner: str, repository: str, wanted: Mapping[str, str]
) -> Mapping[str, Any] | None:
    """What a pull would begin with; None: the owner allows that to SageMaker alone."""
    try:
        answer: Mapping[str, Any] = account.clients.other("ecr").batch_get_image(
            registryId=owner, repositoryName=repository, imageIds=[wanted]
        )
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "RepositoryNotFoundException":
            return {}
        if code == "AccessDeniedException":
            return None
        raise
    return answer
