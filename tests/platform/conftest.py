"""The platform's files as data, and its two programs as modules."""
from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import yaml

PLATFORM = Path(__file__).parents[2] / "platform"
KUSTOMIZATION = yaml.safe_load((PLATFORM / "kustomization.yaml").read_text(encoding="utf-8"))
MANIFESTS = [(name, document) for name in KUSTOMIZATION["resources"]
             for document in yaml.safe_load_all((PLATFORM / name).read_text(encoding="utf-8"))]
COMPOSE = yaml.safe_load((PLATFORM / "compose.yml").read_text(encoding="utf-8"))


def of_kind(*kinds: str) -> list[dict]:
    """Return the objects of these kinds."""
    return [document for _, document in MANIFESTS if document["kind"] in kinds]


def workloads() -> dict[str, dict]:
    """Return what runs, by name: Deployments, StatefulSets and Jobs."""
    return {item["metadata"]["name"]: item for item in of_kind("Deployment", "StatefulSet", "Job")}


def containers() -> Iterator[tuple[str, dict]]:
    """Yield every container with the name of its workload."""
    for name, item in workloads().items():
        for container in item["spec"]["template"]["spec"]["containers"]:
            yield name, container


def load(program: str) -> ModuleType:
    """Import a program of the platform; most have no suffix."""
    loader = SourceFileLoader(f"platform_{program}", str(PLATFORM / program))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[loader.name] = module  # dataclasses look there
    loader.exec_module(module)
    return module
