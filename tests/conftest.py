"""Settings for the whole suite; helpers stand in their own modules."""

import os
import tempfile

from hypothesis import HealthCheck, settings

# A developer's own fitted profiles must not stand in for the shipped machines.
_DATA_HOME = tempfile.TemporaryDirectory(prefix="perfmodel-tests-")
os.environ["XDG_DATA_HOME"] = _DATA_HOME.name

# A kernel may be compiled in the middle of any example, so no example has a deadline.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("local", max_examples=60, **_COMMON)
settings.register_profile(
    "ci", max_examples=60, derandomize=True, database=None, print_blob=True, **_COMMON
)
settings.load_profile("ci" if os.environ.get("CI") else "local")
