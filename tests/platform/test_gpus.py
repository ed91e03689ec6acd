"""Which GPUs workers see: who gets which, what is found, and what is refused before work starts."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections import Counter
from pathlib import Path

import pytest

from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.platform import gpus
from elasticdl_nb.runtime.platform.base import Exited, InstanceId
from elasticdl_nb.runtime.platform.gpus import Shares, check, listed, shares_for, visible
from elasticdl_nb.runtime.platform.local import WORKER_ENVS, LocalPlatform
from elasticdl_nb.runtime.spec import JobSpec

SMI = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aaaa-1)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bbbb-2)
  MIG 1g.5gb      Device  0: (UUID: MIG-cccc-3)
  MIG 1g.5gb      Device  1: (UUID: MIG-dddd-4)
"""


def spec(gpu: str = "", workers: int = 1, **more: object) -> JobSpec:
    given = {"worker_resource_request": f"gpu={gpu}"} if gpu else {}
    return JobSpec.create("train", model_def="m.M", model_zoo=".", data="x.csv", num_workers=workers, **given, **more)


@pytest.mark.parametrize("each", [0, 250, 300, 500, 1000, 2000])
def test_workers_that_come_and_go_share_evenly_and_whole_gpus_are_never_shared(each):
    chance = random.Random(each)
    for count in (1, 2, 3, 8):
        shares = Shares([f"g{number}" for number in range(count)], each)
        room = 3 * count if shares.room is None else shares.room
        living: dict[int, tuple[str, ...]] = {}
        for number in range(300):
            if living and (len(living) >= room or chance.random() < 0.4):
                gone = chance.choice([*living])
                shares.free(gone)
                del living[gone]
            elif room:
                living[number] = shares.take(number)
                assert shares.take(number) == living[number]
            users = Counter(gpu for held in living.values() for gpu in held)
            assert all(len(held) == len(set(held)) == max(1, each // 1000) for held in living.values())
            if each:
                assert all(users[gpu] * min(each, 1000) <= 1000 for gpu in users)
        # With all others gone, the next ones go to a GPU each.
        for one in living:
            shares.free(one)
        if each <= 1000:
            assert len({shares.take(f"new {number}") for number in range(count)}) == count


def test_a_restarted_master_knows_who_has_which():
    shares = Shares(["a", "b"], 1000)
    shares.adopt("old", ["a", "gone"])
    assert shares.take("new") == ("b",)
    assert Shares(["a"], 1000).take("one") == ("a",)


def test_what_is_listed_and_what_the_outer_environment_leaves_of_it():
    assert listed(SMI) == ("GPU-aaaa-1", "MIG-cccc-3", "MIG-dddd-4")
    assert listed("No devices were found\n") == ()
    four = ("0", "1", "2", "3")
    for outer, left in ((None, four), ("", ()), ("-1", ()), ("2,0", ("2", "0")), ("1,9,2", ("1",)), ("1,1", ("1",))):
        assert visible(four, outer) == left
    assert visible(listed(SMI), "MIG-dd,GPU-aaaa-1") == ("MIG-dddd-4", "GPU-aaaa-1")
    assert visible(listed(SMI), "MIG-") == ()  # which one is not said
    assert visible((), "0") == ()


@pytest.mark.parametrize(
    ("job", "outer", "refused"),
    [
        (spec("1"), None, ""),
        (spec("0.5", 4), None, ""),
        (spec("500m", 4), None, ""),
        (spec("1", 3), None, "gpu=1 for each of 3 workers, but this machine has 2, enough for 2"),
        (spec("0.4", 5), None, "gpu=0.4 for each of 5 workers, but this machine has 2, enough for 4"),
        (spec("2", 2), None, "enough for 1"),
        (spec("1", 2), "1", "this machine has 1, enough for 1"),
        (spec("1"), "", "no NVIDIA GPU can be used on this machine, as CUDA_VISIBLE_DEVICES shows none"),
        (spec("1.5"), None, "gpu=1.5 is not valid; give a whole number"),
        (spec("1", envs="CUDA_VISIBLE_DEVICES=0"), None, "envs sets CUDA_VISIBLE_DEVICES"),
        (spec("1", 4, distribution_strategy="Local"), None, ""),
        (spec(workers=9), "", ""),
    ],
)
def test_what_cannot_be_had_is_refused_in_one_sentence(monkeypatch, job, outer, refused):
    monkeypatch.setattr(gpus, "on_this_machine", lambda: ("0", "1"))
    environment = {} if outer is None else {"CUDA_VISIBLE_DEVICES": outer}
    if not refused:
        return check(job, environment)
    with pytest.raises(OptionError, match=r"^worker_resource_request: gpu") as error:
        check(job, environment)
    assert refused in str(error.value)
    return None


def test_other_requests_have_no_effect_here_and_clusters_have_whole_gpus():
    with pytest.raises(OptionError, match="has an effect only with platform=kubernetes, except for gpu"):
        JobSpec.create("train", model_def="m.M", model_zoo=".", data="x.csv", worker_resource_request="cpu=2,gpu=1")
    with pytest.raises(OptionError, match=r"gpu=0\.5 is not a whole number"):
        spec("0.5", platform="kubernetes")
    assert spec("2", platform="kubernetes").worker_resource_request == {"nvidia.com/gpu": "2"}


def test_only_workers_see_them_and_a_death_frees_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(gpus, "on_this_machine", lambda: ("0", "1"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert shares_for(spec()) is None and shares_for(spec("1", envs="CUDA_VISIBLE_DEVICES=0")) is None
    assert shares_for(spec(workers=2)) is not None
    assert WORKER_ENVS["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    shares = shares_for(spec("1", 2))
    show = [sys.executable, "-c", "import os; print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); input()"]
    stay = [sys.executable, "-c", "import time; time.sleep(600)"]

    def platform(with_shares: Shares | None) -> LocalPlatform:
        return LocalPlatform(lambda role, index: tmp_path / f"{role}-{index}", tmp_path / "notes", gpus=with_shares)

    async def play() -> None:
        first = platform(shares)
        news = aiter(first.events())
        ended: dict[str, str] = {}
        for role, index, command in (("worker", 0, stay), ("worker", 1, show), ("worker", 2, show), ("ps", 0, show)):
            instance = InstanceId(role, index, "0")
            await first.start(instance, command, {})
            while command is show:
                event = await anext(news)
                if isinstance(event, Exited):
                    ended[f"{role}-{index}"] = event.log_tail.split()[0]
                    break
        # The first keeps GPU 0; the second has ended when the third comes.
        assert ended == {"worker-1": "1", "worker-2": "1", "ps-0": "-1"}
        second = platform(shares_for(spec("1", 2)))  # of another master
        assert await second.adopt() == [InstanceId("worker", 0, "0")]
        instance = InstanceId("worker", 3, "0")
        await second.start(instance, stay, {})
        pid = int(Path(tmp_path / "notes" / "worker-3-0").read_text().split()[0])
        assert gpus.seen_by(pid) == ("1",)
        await second.close()
        await first.close()

    asyncio.run(play())


def test_without_a_gpu_nothing_is_set(monkeypatch):
    monkeypatch.setattr(gpus, "on_this_machine", lambda: ())
    assert shares_for(spec(workers=4)) is None
    with pytest.raises(OptionError, match="but no NVIDIA GPU can be used on this machine; leave gpu out"):
        check(spec("1"), {})


@pytest.mark.skipif(not gpus.on_this_machine(), reason="no GPU on this machine")
def test_a_gpu_of_this_machine_is_found():
    assert all(visible(gpus.on_this_machine(), name) == (name,) for name in gpus.on_this_machine())
    assert os.path.exists("/dev/nvidiactl")
