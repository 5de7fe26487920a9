"""The policies as a running cluster's API has them: compared with what is in force, and made so."""

from __future__ import annotations

from collections.abc import Sequence

from usernetes_deploy.access.policies import rules
from usernetes_deploy.access.policies.document import Policy
from usernetes_deploy.api import Api

GROUP = "/apis/admissionregistration.k8s.io/v1"
KINDS = {
    "ValidatingAdmissionPolicy": f"{GROUP}/validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": f"{GROUP}/validatingadmissionpolicybindings",
}


def missing(api: Api, policies: Sequence[Policy]) -> list[str]:
    """The names of policies in force that the API lacks, wholly or by half: somebody deleted them, or they are new."""
    wanted = {(item["kind"], item["metadata"]["name"]) for item in rules.objects(policies)}
    return sorted({name for _, name in wanted - _there(api)})


def apply(api: Api, policies: Sequence[Policy]) -> tuple[int, list[str]]:
    """Give the API what is in force, and take away what no longer is: how many there are now, and the names gone.

    What is new comes before what is old goes, so that at no time less is refused than by either.
    """
    made = rules.objects(policies)
    for item in made:
        api.apply(item)
    wanted = {(item["kind"], item["metadata"]["name"]) for item in made}
    left = sorted(_there(api) - wanted, reverse=True)  # bindings first
    for kind, name in left:
        api.delete({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}})
    return len(made) // 2, sorted({name for _, name in left})


def _there(api: Api) -> set[tuple[str, str]]:
    """Kind and name of what was made of policies; those of a trial are the trial's."""
    return {
        (kind, item["metadata"]["name"])
        for kind, path in KINDS.items()
        for item in api.get(f"{path}?labelSelector={rules.LABEL}")["items"]
        if item["metadata"]["name"].startswith(("usernetes-site-", "usernetes-spec-"))
    }
