"""`usernetes init` where a real Slurm answers: the script it writes is taken by sbatch as it is."""

from __future__ import annotations

from tests.slurm.clusters import Clusters


def test_the_script_of_init_is_a_cluster(clusters: Clusters) -> None:
    slurm = clusters.slurm
    folder = slurm.root / "output" / "mine"
    wishes = ("--nodes", "1", "--time", "10m", "--queue", "short")
    assert clusters.usernetes("init", "--folder", str(folder), *wishes) == f"{folder}/usernetes.sh"
    script = str(folder / "usernetes.sh")
    workflow = ("--", "sh", "-c", "kubectl get nodes --no-headers | wc -l; exit 3")
    job = slurm.ask("sbatch", "--parsable", f"--output={slurm.root}/output/%j", script, *clusters.settings, *workflow)
    asked = slurm.ask("squeue", "--noheader", f"--jobs={job}", "--format=%j %P %l %D")
    assert asked == "usernetes short 10:00 1"
    assert clusters.ended(job, 240) == "3:0", clusters.output(job)
    assert "\n1\n" in clusters.output(job)
    clusters.nothing_left()


def test_what_the_partition_does_not_give_is_refused(verbs: Clusters) -> None:
    wishes = ("--nodes", "9", "--time", "2h", "--queue", "short", "--folder", f"{verbs.slurm.root}/output/other")
    code, said = verbs.refused("init", *wishes)
    assert code == 2
    assert "--nodes: 9 were asked for, the partition short has 3 hosts" in said
    assert "--time: 2h were asked for, the partition short allows 0:10:00" in said
    assert not (verbs.slurm.root / "output/other").exists()
