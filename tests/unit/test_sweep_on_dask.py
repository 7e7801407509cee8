"""Sweeps on a real Dask scheduler with two workers, on this computer's loopback alone."""

import os
import signal
import threading
import time

import pytest

from perfmodel.errors import CapabilityError
from perfmodel.results.sweep import DATASET, JOURNAL
from perfmodel.studies.sweep import sweep
from tests.unit.studies import FAULT_COST, PAGES, limited_study, small_study
from tests.unit.test_cli import call, call_json

distributed = pytest.importorskip(
    "distributed", reason="needs Dask: pip install 'perfmodel[cluster]'"
)
# Its event loops leave sockets to the collector when workers are killed.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes of one thread each."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
    ) as found:
        yield found


def test_the_result_is_the_local_one_bit_for_bit(cluster, tmp_path):
    for name, study in (
        ("algebra", small_study(axes=(PAGES, FAULT_COST))),
        ("engine", limited_study()),
    ):
        sweep(study, out=tmp_path / f"{name}-here")
        with distributed.Client(cluster) as client:
            sweep(study, executor=client.get_executor(), out=tmp_path / f"{name}-there")
        here, there = (
            (tmp_path / f"{name}-{where}" / DATASET).read_bytes() for where in ("here", "there")
        )
        assert here == there


def test_the_command_takes_a_scheduler(capsys, cluster):
    there = call_json(
        capsys, "sweep", "fallback-probability", "--scheduler", cluster.scheduler_address
    )
    here = call_json(capsys, "sweep", "fallback-probability")
    for document in (here, there):
        del document["provenance"]["created"], document["command"]
    assert there == here


def test_a_scheduler_that_is_not_there_is_one_line(capsys, monkeypatch):
    status, out, err = call(capsys, "sweep", "fallback-probability", "--scheduler", "nothing://1")
    assert (status, out) == (CapabilityError.exit_status, "")
    assert "no scheduler answers at 'nothing://1'" in err


def test_a_worker_that_is_killed_loses_nothing(cluster, tmp_path):
    study = limited_study(cells=40, accesses=200_000)
    sweep(study, out=tmp_path / "here")
    journal = tmp_path / "there" / JOURNAL
    killed = []

    def kill(client):
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if journal.is_file() and journal.read_bytes().count(b"\n") >= 3:
                pids = list(client.run(os.getpid).values())
                os.kill(pids[0], signal.SIGKILL)
                killed.append(pids[0])
                return
            time.sleep(0.01)

    with distributed.Client(cluster) as client:
        killer = threading.Thread(target=kill, args=(client,))
        killer.start()
        sweep(study, executor=client.get_executor(), out=tmp_path / "there")
        killer.join()
    assert killed
    here, there = ((tmp_path / where / DATASET).read_bytes() for where in ("here", "there"))
    assert here == there
