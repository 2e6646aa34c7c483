"""Records can be answered by a model server, started when there are some; and by another's."""

import sys
from pathlib import Path

import pytest

from backburner_local import job_services
from backburner_local.emulators.bedrock.local_model import InstanceModel
from backburner_local.options import Options
from tests.emulators.bedrock.stage import record

#: A server of OpenAI's routes, without a model.
SERVER = [
    *(sys.executable, "-m", "backburner_model.server", "--port", "{port}"),
    *("--engine", "null", "--die-with-parent"),
]


@pytest.mark.slow
def test_a_model_server_is_started_for_the_records_and_not_before(stage):
    stage.start_with(lambda: InstanceModel(SERVER, stage.root / "logs"))
    assert not (stage.root / "logs").exists()
    arn = stage.create([record(1), record(2)])
    assert stage.until(arn)["successRecordCount"] == 2
    assert len(list((stage.root / "logs").rglob("i-*.log"))) == 1


def test_a_model_that_cannot_be_started_fails_its_records_and_not_the_job(stage):
    stage.start_with(lambda: InstanceModel(["/no/such/program"], stage.root / "logs"))
    arn = stage.create([record(1)])
    assert stage.until(arn)["status"] == "Completed"
    (line,) = stage.output(arn)
    assert line["error"]["errorCode"] == 503


def test_the_stack_takes_the_engine_that_the_operator_chose(tmp_path):
    from backburner_local.model_server import NoModel

    with pytest.raises(NoModel):
        job_services.local_model(Options(engine="openvino", root=tmp_path), Path())
