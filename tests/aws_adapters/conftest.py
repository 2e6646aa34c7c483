"""A bucket of moto that is content with small parts."""

from unittest.mock import patch

import moto.s3.models
import pytest

from backburner.adapters.s3 import S3Blobs
from tests.aws.light_moto import light_aws
from tests.aws_adapters.wire import BUCKET, CLIENTS, SMALL, tapped


@pytest.fixture
def s3():
    with light_aws(), patch.object(moto.s3.models, "S3_UPLOAD_PART_MIN_SIZE", SMALL.least):
        CLIENTS.s3.create_bucket(Bucket=BUCKET)
        yield CLIENTS.s3


@pytest.fixture
def blobs(s3):
    return S3Blobs(CLIENTS, BUCKET, sizes=SMALL)


@pytest.fixture
def wire(blobs):
    with tapped() as wire:
        yield wire
