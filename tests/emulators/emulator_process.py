"""An emulator in a process of its own, to be killed: ``emulator_process.py ROOT``.

It appends notifications to ``ROOT/told``, and refuses them while there is a ``ROOT/deaf``.
"""

import os
import sys
import time
from pathlib import Path

from backburner_local.emulators.objects import DirectoryObjects
from backburner_local.emulators.sagemaker import Endpoint, Knobs, SageMakerEmulator


def main(root: Path) -> None:
    def publish(topic: str, message: str) -> None:
        if (root / "deaf").exists():
            raise ConnectionError("deaf")
        with (root / "told").open("a") as told:
            told.write(message + "\n")

    model_server = str(Path(__file__).with_name("model_server.py"))
    emulator = SageMakerEmulator(
        objects=DirectoryObjects(root / "objects"),
        publish=publish,
        data_dir=root / "data",
        knobs=Knobs(test_notifications=False, publish_backoff_seconds=0.1),
        instance_command=[sys.executable, "-I", "-S", model_server, "{port}"],
        endpoints=[
            Endpoint(
                name="my-ep",
                s3_output_path="s3://bucket/out",
                success_topic="arn:success",
                error_topic="arn:error",
                max_concurrent_invocations_per_instance=4,
            )
        ],
    ).start()
    (root / "url.new").write_text(f"{emulator.url} {os.getpid()}")
    (root / "url.new").rename(root / "url")
    time.sleep(60)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
