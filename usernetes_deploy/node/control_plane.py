"""The control plane as plain processes on the first node: no static pods, no images to import.

Flags follow what kubeadm writes into its manifests for this version, except that nothing elects a leader (there is one
of each) and nobody is anonymous.
"""

from __future__ import annotations

from usernetes_deploy.network.resolvers import upstreams
from usernetes_deploy.node import audit
from usernetes_deploy.node.config import API_PORT, CIPHER_SUITES, ENCRYPTION, KUBERNETES, PKI, RUN, NodeConfig

ETCD_PORT = 2379
ETCD = f"https://127.0.0.1:{ETCD_PORT}"
# Seconds. What answers a question is woken by packets; timers are for what is done now and then (every second the API
# server looks whether there is a bookmark to send, for each of 70 kinds); hundreds a second run out alone otherwise.
TIMER_SLACK = 0.1
CPUS_PER_PROCESSOR = 8
FRONT_PROXY_CA = f"--requestheader-client-ca-file={PKI}/front-proxy-ca.crt"


def etcd(config: NodeConfig) -> list[str]:
    """etcd on the node's loopback, with TLS both ways. `durability: memory` keeps its data on a tmpfs."""
    durable = config.durability == "disk"
    data = config.root / "etcd" if durable else RUN / "etcd"
    return [
        config.binary("etcd"),
        f"--name={config.name}",
        f"--data-dir={data}",
        f"--listen-client-urls={ETCD}",
        f"--advertise-client-urls={ETCD}",
        "--listen-peer-urls=https://127.0.0.1:2380",
        "--initial-advertise-peer-urls=https://127.0.0.1:2380",
        f"--initial-cluster={config.name}=https://127.0.0.1:2380",
        f"--cert-file={PKI}/etcd/server.crt",
        f"--key-file={PKI}/etcd/server.key",
        f"--trusted-ca-file={PKI}/etcd/ca.crt",
        "--client-cert-auth=true",
        f"--peer-cert-file={PKI}/etcd/server.crt",
        f"--peer-key-file={PKI}/etcd/server.key",
        f"--peer-trusted-ca-file={PKI}/etcd/ca.crt",
        "--peer-client-cert-auth=true",
        "--snapshot-count=10000",
        # One member elects itself, one to five heartbeats after its start; 20 of them a second cost nothing measurable.
        "--heartbeat-interval=50",
        "--election-timeout=250",
        "--initial-election-tick-advance=true",
        "--watch-progress-notify-interval=60s",
        "--auto-compaction-retention=0",
        *([] if durable else ["--unsafe-no-fsync=true"]),
    ]


def apiserver(config: NodeConfig) -> list[str]:
    """The API server: nodes reach it at the first node's mesh address, everyone else through rootlesskit's port."""
    return [
        config.binary("kube-apiserver"),
        f"--advertise-address={config.node_ip}",
        f"--secure-port={API_PORT}",
        "--allow-privileged=true",
        "--anonymous-auth=false",
        "--authorization-mode=Node,RBAC",
        f"--client-ca-file={PKI}/ca.crt",
        "--enable-admission-plugins=NodeRestriction",
        f"--tls-cipher-suites={','.join(CIPHER_SUITES)}",
        f"--etcd-servers={ETCD}",
        f"--etcd-cafile={PKI}/etcd/ca.crt",
        f"--etcd-certfile={PKI}/apiserver-etcd-client.crt",
        f"--etcd-keyfile={PKI}/apiserver-etcd-client.key",
        f"--kubelet-certificate-authority={PKI}/ca.crt",
        f"--kubelet-client-certificate={PKI}/apiserver-kubelet-client.crt",
        f"--kubelet-client-key={PKI}/apiserver-kubelet-client.key",
        "--kubelet-preferred-address-types=InternalIP",
        f"--proxy-client-cert-file={PKI}/front-proxy-client.crt",
        f"--proxy-client-key-file={PKI}/front-proxy-client.key",
        FRONT_PROXY_CA,
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--encryption-provider-config={ENCRYPTION}",
        f"--service-account-issuer=https://kubernetes.default.svc.{config.dns_domain}",
        f"--service-account-key-file={PKI}/sa.pub",
        f"--service-account-signing-key-file={PKI}/sa.key",
        f"--service-cluster-ip-range={config.service_cidr}",
        f"--tls-cert-file={PKI}/apiserver.crt",
        f"--tls-private-key-file={PKI}/apiserver.key",
        "--profiling=false",
        "--enable-aggregator-routing=true",
        *audit.flags(config),
        *config.further("apiServer"),
    ]


def _asks_as(name: str) -> list[str]:
    """The API is asked, also about those who ask this component, with the credential `name`."""
    flags = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
    return [f"--{flag}={KUBERNETES / name}.conf" for flag in flags]


def controller_manager(config: NodeConfig) -> list[str]:
    """The controller manager; pod CIDRs are the driver's to give, so it allocates none."""
    return [
        config.binary("kube-controller-manager"),
        *_asks_as("controller-manager"),
        "--bind-address=127.0.0.1",
        "--allocate-node-cidrs=false",
        f"--client-ca-file={PKI}/ca.crt",
        f"--cluster-name={config.cluster}",
        f"--cluster-signing-cert-file={PKI}/ca.crt",
        f"--cluster-signing-key-file={PKI}/ca.key",
        f"--root-ca-file={PKI}/ca.crt",
        f"--service-account-private-key-file={PKI}/sa.key",
        FRONT_PROXY_CA,
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        # Its own default would have it wait for itself: seconds between the API's being ready and the first pod.
        "--kube-api-qps=200",
        "--kube-api-burst=400",
        "--flex-volume-plugin-dir=/var/lib/kubelet/volumeplugins",
        "--profiling=false",
        # Kubelets renew their lease every 15 s (a quarter of nodeLeaseDurationSeconds).
        "--node-monitor-period=5s",
        "--node-monitor-grace-period=50s",
        *config.further("controllerManager"),
    ]


def scheduler(config: NodeConfig) -> list[str]:
    """The scheduler."""
    return [
        config.binary("kube-scheduler"),
        *_asks_as("scheduler"),
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--profiling=false",
        *config.further("scheduler"),
    ]


def corefile(config: NodeConfig) -> str:
    """CoreDNS answers for the cluster from the API, uncached, so that a pod is found as soon as it is there.

    Of the resolvers for other names the first that answers is asked. One that is silent costs one question two
    seconds, and then nothing until it answers again; when all are, names outside fail at once.
    """
    forward = f"""forward . {" ".join(upstreams(config.nameservers))} {{
        policy sequential
        max_fails 1
        health_check 5s
        failfast_all_unhealthy_upstreams
        max_concurrent 1000
    }}"""
    return f"""{config.dns_domain}:53 in-addr.arpa:53 ip6.arpa:53 {{
    bind {config.node_ip}
    errors
    kubernetes {config.dns_domain} in-addr.arpa ip6.arpa {{
        kubeconfig {KUBERNETES}/coredns.conf
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 5
    }}
    {forward}
    loadbalance
}}
.:53 {{
    bind {config.node_ip}
    errors
    {forward}
    cache 30
    loadbalance
}}
"""


def coredns(config: NodeConfig) -> list[str]:
    """The cluster's DNS server, on the first node's mesh address."""
    return [config.binary("coredns"), f"-conf={RUN / 'Corefile'}", "-quiet"]


def local_path(config: NodeConfig) -> list[str]:
    """The provisioner behind the default StorageClass."""
    return [
        config.binary("local-path-provisioner"),
        "start",
        f"--kubeconfig={KUBERNETES}/local-path.conf",
        "--namespace=kube-system",
        "--configmap-name=local-path-config",
        "--service-account-name=local-path-provisioner",
        f"--helper-image={(RUN / 'helper-image').read_text()}",
        f"--config={RUN / 'local-path.json'}",
    ]


def metrics_server(config: NodeConfig) -> list[str]:
    """What `kubectl top` asks; reached through the aggregation layer at the node's mesh address."""
    return [
        config.binary("metrics-server"),
        *_asks_as("metrics-server"),
        f"--bind-address={config.node_ip}",
        "--secure-port=4443",
        f"--tls-cert-file={PKI}/metrics-server.crt",
        f"--tls-private-key-file={PKI}/metrics-server.key",
        FRONT_PROXY_CA,
        f"--kubelet-certificate-authority={PKI}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
        "--metric-resolution=30s",
    ]


def environment(cpus: int) -> dict[str, str]:
    """A lower heap target and an eighth of `cpus` for Go code at once: the control plane shares its host with the job.

    At rest most of what it costs is Go waking more threads for one that has to run, and collecting garbage on a quarter
    of all processors at once.

    >>> environment(64)["GOMAXPROCS"]
    '8'
    """
    return {"GOGC": "80", "GOMAXPROCS": str(max(1, cpus // CPUS_PER_PROCESSOR))}
