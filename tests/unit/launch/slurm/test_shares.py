"""What Slurm says of a job's part of its hosts, as releases and sites write it."""

from __future__ import annotations

from usernetes_deploy.launch.slurm.shares import JobPart, parse_gres_conf, parse_parts, share_of

GROUPS = (
    "JobId=7 NodeList=n[1-3] TRES=cpu=6 JOB_GRES=gpu:3   Nodes=n[1-2] CPU_IDs=0-1 Mem=1000 GRES=gpu:a:1(IDX:0)   "
    "Nodes=n3 CPU_IDs=2,5 Mem=2000 GRES= MinCPUsNode=1 MinMemoryNode=0 "
)


def test_hosts_of_a_job_may_have_different_parts() -> None:
    found = parse_parts(GROUPS)
    assert found == {
        "n1": JobPart("0-1", 1000 << 20, {"gpu": [0]}),
        "n2": JobPart("0-1", 1000 << 20, {"gpu": [0]}),
        "n3": JobPart("2,5", 2000 << 20, {}),
    }


def test_a_job_without_details_has_no_limits() -> None:
    assert parse_parts("JobId=7 NodeList=n[1-3] MinMemoryNode=0") == {}
    assert share_of(JobPart(), 0, {}) == share_of(JobPart("0-3"), 4, {})


def test_memory_that_was_not_asked_for_is_not_limited() -> None:
    assert parse_parts("  Nodes=n1 CPU_IDs=0-1 Mem=0 GRES= MinMemoryNode=0 ")["n1"].memory == 0
    assert parse_parts("  Nodes=n1 CPU_IDs= Mem=0 GRES= MinMemoryCPU=1G ")["n1"].memory == 1 << 30


def test_several_resources_with_several_devices_each() -> None:
    [part] = parse_parts("  Nodes=n1 CPU_IDs=0 Mem=1 GRES=gpu:a:2(IDX:0,3),nic:1(IDX:0),bw:4(CNT:4) M=1").values()
    assert part.gres == {"gpu": [0, 3], "nic": [0]}


def test_a_device_of_several_files_is_one() -> None:
    conf = "Name=gpu MultipleFiles=/dev/a0,/dev/b0\nname=gpu multiplefiles=/dev/a1,/dev/b1\nName=bw Count=4"
    files = parse_gres_conf(conf, "n1")
    assert files == {"gpu": [["/dev/a0", "/dev/b0"], ["/dev/a1", "/dev/b1"]]}
    said = share_of(JobPart(gres={"gpu": [1]}), 4, files)
    assert said.devices == ({"name": "gpu", "paths": ["/dev/a1", "/dev/b1"], "count": 1, "each": False},)
    assert said.others == ("/dev/a0", "/dev/b0")


def test_a_job_that_asked_for_none_has_none_of_the_hosts() -> None:
    said = share_of(JobPart("0"), 4, {"gpu": [["/dev/g0"], ["/dev/g1"]]})
    assert (said.devices, said.others) == ((), ("/dev/g0", "/dev/g1"))
