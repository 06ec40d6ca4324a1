"""Processes of torchrun exchange what they found."""

from casc_det.evaluation import shard


def test_processes_exchange_results_over_the_cpu(monkeypatch):
    """Results are Python objects; NCCL would need a GPU of its own for each process."""
    backends = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(shard.dist, "is_initialized", lambda: False)
    monkeypatch.setattr(shard.dist, "init_process_group", lambda backend, **_: backends.append(backend))
    monkeypatch.setattr(shard.dist, "get_rank", lambda: 1)
    monkeypatch.setattr(shard.dist, "get_world_size", lambda: 2)
    assert shard.Shard.join() == shard.Shard(1, 2) and backends == ["gloo"]
