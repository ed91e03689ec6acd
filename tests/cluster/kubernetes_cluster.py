"""A Kubernetes cluster of one node: etcd, API server, controllers, scheduler, kubelet on the Docker engine, proxy.

Built by build-kubernetes. It has no DNS: pods and services are reached by their addresses.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from certificates import Authority
from daemons import CACHE, RUN, Daemon, locked, output, shared

BIN = CACHE / "kubernetes" / "bin"
KUBECONFIG = RUN / "kubernetes" / "admin.kubeconfig"
PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
NODE = "node1"
_PAUSE_IMAGE = "elasticdl-test/pause:1"
_HOME = RUN / "kubernetes"
_PKI = _HOME / "pki"
_KUBELET = _HOME / "kubelet"
# Written before anything on the machine is changed, with the kernel's settings as they were.
_CHANGED = _HOME / "sysctls-before"
_SYSCTLS = ("vm.overcommit_memory", "kernel.panic", "kernel.panic_on_oops")
_PORTS = {
    "etcd": 12379, "api": 16443, "controllers": 16444, "scheduler": 16445, "kubelet": 16446, "kubelet_health": 16447,
    "proxy_health": 16448, "proxy_metrics": 16449,
}  # fmt: skip
_SERVICES = "10.96.0.0/16"

_daemons = {name: Daemon(name) for name in ("etcd", *PROGRAMS)}


def is_built() -> bool:
    """Whether the programs are there."""
    return all((BIN / program).exists() for program in (*PROGRAMS, "pause"))


def build() -> None:
    """Build the programs, unless they are there; takes minutes. If another process does so already, wait for it."""
    with locked("build-kubernetes"):
        subprocess.run(["nice", "-n", "10", Path(__file__).with_name("build-kubernetes"), BIN], check=True)


@contextlib.contextmanager
def cluster() -> Iterator[Path]:
    """Have the cluster, on a Docker engine that runs; yields the path of its administrator's kube-config."""
    with shared("kubernetes", _start, _stop):
        yield KUBECONFIG


def restart_api_server(seconds_down: float = 0.0) -> None:
    """Stop the API server and start it again."""
    _daemons["kube-apiserver"].stop(patience=0)
    time.sleep(seconds_down)
    _start_api_server(_docker_address())


def _start() -> None:
    address = _docker_address()
    if "KUBE-" in output("iptables-save"):
        raise RuntimeError("another Kubernetes runs on this machine: its rules are in iptables")
    _HOME.mkdir(parents=True, exist_ok=True)
    _write_certificates(address)
    _start_etcd()
    _start_api_server(address)
    _start_controllers()
    _start_node(address)
    _daemons["kubelet"].wait_until(_is_ready)


def _docker_address() -> str:
    """The host's address in Docker's network, at which pods reach it."""
    shown = json.loads(output("ip", "-4", "-json", "address", "show", "docker0"))
    return str(shown[0]["addr_info"][0]["local"])


def _write_certificates(address: str) -> None:
    authority = Authority(_PKI)
    hosts = ["localhost", "kubernetes.default.svc", "127.0.0.1", address, "10.96.0.1"]
    authority.sign("apiserver", "kube-apiserver", hosts=hosts)
    authority.sign("apiserver-client", "apiserver", "system:masters")
    authority.sign("kubelet-server", f"system:node:{NODE}", hosts=[NODE, address])
    authority.sign("service-accounts", "service-accounts")
    users = {
        "admin": ("admin", "system:masters"),
        "controllers": ("system:kube-controller-manager", ""),
        "scheduler": ("system:kube-scheduler", ""),
        "kubelet": (f"system:node:{NODE}", "system:nodes"),
        "proxy": ("system:kube-proxy", ""),
    }
    for name, (user, group) in users.items():
        authority.sign(name, user, group)
        _write_kubeconfig(name, address, authority)


def _write_kubeconfig(name: str, address: str, authority: Authority) -> None:
    server = {"server": f"https://{address}:{_PORTS['api']}", "certificate-authority": str(authority.certificate)}
    user = {"client-certificate": f"{_PKI}/{name}.crt", "client-key": f"{_PKI}/{name}.key"}
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "tests",
        "clusters": [{"name": "tests", "cluster": server}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": name}}],
    }  # fmt: skip
    (_HOME / f"{name}.kubeconfig").write_text(json.dumps(config, indent=2))


def _start_etcd() -> None:
    url, peers = (f"http://127.0.0.1:{_PORTS['etcd'] + offset}" for offset in (0, 1))
    data = _HOME / "etcd"
    data.mkdir(mode=0o700)
    _daemons["etcd"].start(
        "etcd", "--name=tests", f"--data-dir={data}", f"--listen-client-urls={url}", f"--advertise-client-urls={url}",
        f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}", f"--initial-cluster=tests={peers}",
    )  # fmt: skip
    _daemons["etcd"].wait_until(lambda: _get(f"{url}/health") is not None)


def _start_api_server(address: str) -> None:
    server = _daemons["kube-apiserver"]
    server.start(
        BIN / "kube-apiserver",
        f"--etcd-servers=http://127.0.0.1:{_PORTS['etcd']}",
        f"--bind-address={address}", f"--advertise-address={address}", f"--secure-port={_PORTS['api']}",
        f"--tls-cert-file={_PKI}/apiserver.crt", f"--tls-private-key-file={_PKI}/apiserver.key",
        f"--client-ca-file={_PKI}/ca.crt",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-signing-key-file={_PKI}/service-accounts.key",
        f"--service-account-key-file={_PKI}/service-accounts.key",
        f"--kubelet-client-certificate={_PKI}/apiserver-client.crt",
        f"--kubelet-client-key={_PKI}/apiserver-client.key",
        "--kubelet-preferred-address-types=InternalIP",
        "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
        f"--service-cluster-ip-range={_SERVICES}",
    )  # fmt: skip
    server.wait_until(lambda: _get(f"https://{address}:{_PORTS['api']}/readyz") is not None)


def _start_controllers() -> None:
    for program, name, port in (
        ("kube-controller-manager", "controllers", _PORTS["controllers"]),
        ("kube-scheduler", "scheduler", _PORTS["scheduler"]),
    ):
        config = f"{_HOME}/{name}.kubeconfig"
        own = []
        if name == "controllers":
            own = [
                "--use-service-account-credentials=true", f"--root-ca-file={_PKI}/ca.crt",
                f"--service-account-private-key-file={_PKI}/service-accounts.key",
                "--node-monitor-grace-period=20s", "--pod-eviction-timeout=10s",
            ]  # fmt: skip
        _daemons[program].start(
            BIN / program, f"--kubeconfig={config}", f"--authentication-kubeconfig={config}",
            f"--authorization-kubeconfig={config}", "--leader-elect=false", "--bind-address=127.0.0.1",
            f"--secure-port={port}", "--port=0", *own,
        )  # fmt: skip


def _start_node(address: str) -> None:
    if subprocess.run(["docker", "image", "inspect", _PAUSE_IMAGE], capture_output=True).returncode:
        archive = subprocess.run(["tar", "-C", BIN, "-c", "pause"], check=True, capture_output=True).stdout
        entry = 'ENTRYPOINT ["/pause"]'
        subprocess.run(["docker", "import", "--change", entry, "-", _PAUSE_IMAGE], input=archive, check=True, stdout=-3)
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "address": address, "port": _PORTS["kubelet"], "readOnlyPort": 0,
        "healthzBindAddress": "127.0.0.1", "healthzPort": _PORTS["kubelet_health"],
        "authentication": {
            "anonymous": {"enabled": False}, "webhook": {"enabled": True}, "x509": {"clientCAFile": f"{_PKI}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{_PKI}/kubelet-server.crt", "tlsPrivateKeyFile": f"{_PKI}/kubelet-server.key",
        "cgroupDriver": "cgroupfs", "cgroupRoot": "/", "failSwapOn": False, "protectKernelDefaults": False,
        "resolvConf": "/etc/resolv.conf", "clusterDomain": "cluster.local", "hairpinMode": "none",
        # The machine's disk and memory are other programs' as well.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "200Mi", "nodefs.available": "2%", "imagefs.available": "2%"},
        "syncFrequency": "10s", "nodeStatusUpdateFrequency": "4s",
    }  # fmt: skip
    (_HOME / "kubelet.json").write_text(json.dumps(config))
    _CHANGED.write_text(output("sysctl", *_SYSCTLS))
    _KUBELET.mkdir()
    _daemons["kubelet"].start(
        BIN / "kubelet", f"--config={_HOME}/kubelet.json", f"--kubeconfig={_HOME}/kubelet.kubeconfig",
        f"--hostname-override={NODE}", f"--node-ip={address}",
        "--container-runtime=docker", "--docker-endpoint=unix:///var/run/docker.sock",
        f"--pod-infra-container-image={_PAUSE_IMAGE}", "--image-pull-progress-deadline=2m",
        f"--root-dir={_KUBELET}", f"--cert-dir={_KUBELET}/pki", f"--volume-plugin-dir={_KUBELET}/plugins-exec",
        "--register-node=true", "--oom-score-adj=0",
    )  # fmt: skip
    _daemons["kube-proxy"].start(
        BIN / "kube-proxy", f"--kubeconfig={_HOME}/proxy.kubeconfig", f"--hostname-override={NODE}",
        "--proxy-mode=iptables", "--oom-score-adj=0", "--conntrack-max-per-core=0", "--conntrack-min=0",
        "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0",
        f"--healthz-bind-address=127.0.0.1:{_PORTS['proxy_health']}",
        f"--metrics-bind-address=127.0.0.1:{_PORTS['proxy_metrics']}",
    )  # fmt: skip


def _is_ready() -> bool:
    """Whether the node takes pods, and these get a service account."""
    api = f"https://{_docker_address()}:{_PORTS['api']}/api/v1"
    node = _get(f"{api}/nodes/{NODE}")
    if node is None or node["spec"].get("taints"):
        return False
    conditions = {condition["type"]: condition["status"] for condition in node["status"].get("conditions", ())}
    return conditions.get("Ready") == "True" and _get(f"{api}/namespaces/default/serviceaccounts/default") is not None


def _get(url: str) -> Any:
    """What the administrator gets from a URL, its JSON decoded; None if there is nothing."""
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if url.startswith("https:"):
        context = ssl.create_default_context(cafile=f"{_PKI}/ca.crt")
        context.load_cert_chain(f"{_PKI}/admin.crt", f"{_PKI}/admin.key")
        handlers.append(urllib.request.HTTPSHandler(context=context))
    try:
        with urllib.request.build_opener(*handlers).open(url, timeout=10) as reply:
            text = reply.read()
    except OSError:
        return None
    return text if text == b"ok" else json.loads(text)


# ------------------------------------------------------------------ leaving nothing behind


def _stop() -> None:
    for name in reversed(_daemons):
        _daemons[name].stop()
    if not _CHANGED.exists():
        return
    _remove_containers()
    _unmount()
    _remove_rules()
    for line in _CHANGED.read_text().splitlines():
        subprocess.run(["sysctl", "--quiet", "--write", line.replace(" ", "")], check=True)
    for group in sorted(Path("/sys/fs/cgroup").glob("*/kubepods")):
        for inner in sorted(group.rglob("*/"), reverse=True):
            inner.rmdir()
        group.rmdir()
    shutil.rmtree(_HOME)


def _remove_containers() -> None:
    """Remove the pods' containers: this cluster's are those that run its pause image, and what joined them."""
    listing = ["docker", "ps", "--all", "--quiet", "--no-trunc"]
    sandboxes = output(*listing, "--filter", f"ancestor={_PAUSE_IMAGE}").split()
    filters = [f"--filter=label=io.kubernetes.sandbox.id={sandbox}" for sandbox in sandboxes]
    inside = [container for one in filters for container in output(*listing, one).split()]
    if sandboxes:
        output("docker", "rm", "--force", "--volumes", *inside, *sandboxes)


def _unmount() -> None:
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in sorted(mounted, reverse=True):
        if f"{place}/".startswith(f"{_KUBELET}/"):
            output("umount", place)


def _remove_rules() -> None:
    for table in ("nat", "filter", "mangle"):
        rules = output("iptables", "--wait", "--table", table, "--list-rules").splitlines()
        chains = [rule.split()[1] for rule in rules if rule.startswith("-N KUBE-")]
        if not chains:
            continue
        program = [f"*{table}", *(f":{chain} - [0:0]" for chain in chains)]
        program += [f"-D{rule[2:]}" for rule in rules if "-j KUBE-" in rule and rule.split()[1] not in chains]
        program += [f"-X {chain}" for chain in chains] + ["COMMIT", ""]
        subprocess.run(["iptables-restore", "--wait", "--noflush"], input="\n".join(program), text=True, check=True)
