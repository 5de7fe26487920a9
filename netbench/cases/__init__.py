"""The benchmarks, one a file; `CASES` is the only list of them."""

from __future__ import annotations

from collections.abc import Mapping

from netbench.cases import (
    lammps_hns,
    lammps_lj,
    noise,
    osu_allreduce,
    osu_alltoall,
    osu_barrier,
    osu_bcast,
    osu_bibw,
    osu_bw,
    osu_latency,
    osu_mbw_mr,
    pod_start,
    tcp_rr,
    tcp_stream,
)
from netbench.cases.base import Case

CASES: Mapping[str, Case] = {
    case.name: case
    for case in (
        osu_latency.CASE,
        osu_bw.CASE,
        osu_bibw.CASE,
        osu_mbw_mr.CASE,
        osu_allreduce.CASE,
        osu_alltoall.CASE,
        osu_bcast.CASE,
        osu_barrier.CASE,
        lammps_hns.CASE,
        lammps_lj.CASE,
        tcp_stream.CASE,
        tcp_rr.CASE,
        noise.CASE,
        pod_start.CASE,
    )
}
