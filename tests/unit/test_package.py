import pytest

import perfmodel as pm
import perfmodel.measure.run
from perfmodel.errors import InputError


def test_a_function_stays_one_where_a_package_has_its_name():
    for _ in range(2):
        with pytest.raises(InputError, match="no-such"):
            pm.measure("no-such")
    assert perfmodel.measure.run.measure is not None
