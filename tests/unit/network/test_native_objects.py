"""The objects behind native pods."""

from __future__ import annotations

from usernetes_deploy.network import native


def test_every_policy_has_its_binding() -> None:
    objects = native.manifests({"n0": "192.0.2.1"})
    kinds = {(item["kind"], item["metadata"]["name"]) for item in objects}
    for kind, name in list(kinds):
        if kind.endswith("AdmissionPolicy"):
            assert (f"{kind}Binding", name) in kinds
    policies = {item["metadata"]["name"] for item in objects if item["kind"].endswith("AdmissionPolicy")}
    assert {item["spec"]["policyName"] for item in objects if item["kind"].endswith("Binding")} == policies


def test_the_refusal_says_what_to_do() -> None:
    (policy,) = [item for item in native.manifests({}) if item["kind"] == "ValidatingAdmissionPolicy"]
    assert policy["spec"]["failurePolicy"] == "Fail"
    assert "spec.hostNetwork: true" in policy["spec"]["validations"][0]["message"]


def test_the_hosts_addresses_are_one_config_map() -> None:
    config_map = native.hosts({"b": "192.0.2.2", "a": "192.0.2.1"})
    assert list(config_map["data"]) == ["a", "b"]
    assert config_map["metadata"]["name"] == native.CONFIG_MAP
