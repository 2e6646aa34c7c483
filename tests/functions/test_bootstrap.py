"""How the functions come to their backends."""

import json
import subprocess
import sys

_CODE = """
import json, sys
from backburner import bootstrap
from backburner.adapters.clients import Clients
from backburner.adapters.system import SystemClock

def imported():
    return sorted(name for name in sys.modules if name in BACKENDS)

BACKENDS = {"backburner.adapters.bedrock", "backburner.adapters.transform"}
made = bootstrap.backends(
    Clients(), None, bootstrap.AWS_LIMITS, clock=SystemClock(), role_arn=""
)
before = imported()
made["sagemaker_async"]
unused = imported()
is_known = "bedrock_batch" in made and "nowhere" not in made
print(json.dumps([sorted(made), before, unused, is_known, imported()]))
"""


def test_every_backend_is_there_whatever_the_catalog_names_and_imported_when_it_is_needed():
    said = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, check=True).stdout
    names, before, unused, is_known, after = json.loads(said)
    assert names == ["bedrock_batch", "sagemaker_async", "sagemaker_transform"]
    assert before == unused == []
    assert is_known
    assert after == ["backburner.adapters.bedrock"]
