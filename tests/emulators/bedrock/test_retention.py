"""What the emulator keeps of jobs that have ended, and of records that were paid for."""

import pytest
from botocore.exceptions import ClientError

from backburner_local.emulators.bedrock.ledger import Ledger, Ran
from tests.emulators.bedrock.stage import Stage


def id_of(arn: str) -> str:
    return arn.rpartition("/")[2]


def job_files(stage: Stage) -> set[str]:
    return {path.stem for path in (stage.root / "data" / "jobs").iterdir()}


def test_the_last_ended_jobs_are_known_and_all_that_run(stage):
    stage.start(kept_jobs=2)
    arns = [stage.run()["jobArn"] for _ in range(4)]
    known = [arn for arn in arns if id_of(arn) in stage.emulator.status()]
    assert known == arns[1:]  # as each found two ended ones beside it
    with pytest.raises(ClientError, match="Could not find"):
        stage.job(arns[0])
    assert job_files(stage) == {id_of(arn) for arn in arns[1:]}
    stage.stop()
    stage.start(kept_jobs=1, scheduled_seconds=60.0)
    assert list(stage.emulator.status()) == [id_of(arns[3])]
    running = [stage.create() for _ in range(2)]
    assert {id_of(arn) for arn in [arns[3], *running]} == set(stage.emulator.status())


def test_the_ledger_forgets_the_oldest_records(tmp_path):
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path, full_bytes=200)
    noted = [Ran(f"job{number}", f"R{number}", "digest") for number in range(50)]
    for one in noted:
        ledger.note(one)
    found = ledger.ran()
    ledger.close()
    assert 4 <= len(found) < 20
    assert found == noted[-len(found) :]
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 600
    again = Ledger(path, full_bytes=200)
    assert again.ran() == found
    again.close()
