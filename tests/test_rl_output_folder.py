"""Whether a folder is one for all nodes: two ranks as threads, with disks of their own or one."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from launch.processes import count_nodes
from rl import output_folder
from rl.config import ConfigError


class Rank(SimpleNamespace):
    """A rank of two nodes; `gather` waits for the other."""

    is_main = property(lambda self: self.rank == 0)

    def gather(self, value):
        self.values[self.rank] = value
        self.barrier.wait(10)
        values = list(self.values)
        self.barrier.wait(10)
        return values


def refusals(folders, num_nodes=2):
    shared = {"values": [None, None], "barrier": threading.Barrier(2)}

    def check(rank):
        try:
            output_folder.check_shared(folders[rank], Rank(rank=rank, num_nodes=num_nodes, **shared))
        except ConfigError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(check, range(2)))


def test_one_folder_is_seen_by_all_and_left_as_it_was(tmp_path):
    assert refusals([tmp_path / "run"] * 2) == [None, None]
    assert list((tmp_path / "run").iterdir()) == []


def test_folders_of_two_disks_are_refused_on_all_ranks(tmp_path, monkeypatch):
    monkeypatch.setattr(output_folder, "PATIENCE_S", 0.1)
    told = refusals([tmp_path / "a", tmp_path / "b"])
    assert all("not all nodes see one folder there; give one on a disk that they share" in text for text in told)


def test_ranks_of_one_node_are_not_asked(tmp_path):
    output_folder.check_shared(tmp_path / "run", SimpleNamespace(num_nodes=1))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("env", "nodes"), [({"LOCAL_WORLD_SIZE": "4"}, 2), ({"LOCAL_SIZE": "2"}, 4), ({}, 1)])
def test_nodes_are_counted_by_what_launchers_say(env, nodes):
    assert count_nodes(8, env) == nodes
