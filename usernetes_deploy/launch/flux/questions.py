"""How a Flux instance is asked: by flux-python, or by the `flux` command where that cannot be imported.

Both ways give the same answers (`tests/flux/test_questions.py`): where the bindings can be imported a question costs
some milliseconds, with the command about 70 ms.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from usernetes_deploy.errors import CommandFailed, UsageError, UsernetesError


class Questions(Protocol):
    """What is asked of an instance; the two implementations differ only in how they ask."""

    def resources(self, state: str = "all") -> dict[str, Any]:
        """The resource set R (RFC 20) of the instance: ``all`` of it, or what is ``free``."""

    def offline(self) -> str:
        """The ranks without a working broker, as an idset: ``"1,4-5"``."""

    def jobs(self, ids: Sequence[int] = ()) -> list[dict[str, Any]]:
        """The jobs `ids`, or the asking user's jobs that have not ended; a job that does not exist is left out."""

    def attribute(self, name: str) -> str | None:
        """A broker attribute; None when it is not set."""

    def job_id(self, text: str) -> int:
        """The number of a job id in any of Flux's spellings. Raises `UsageError`."""

    def job_info(self, job: int, key: str) -> str:
        """What is stored with a job under `key`; its user alone may read it. Raises `UsernetesError`."""


class ByCommand:
    """Asks with the `flux` command and reads its JSON; `command(*arguments)` returns what ``flux ARGUMENTS`` prints."""

    def __init__(self, command: Callable[..., str]) -> None:
        self._flux = command

    def resources(self, state: str = "all") -> dict[str, Any]:
        """See `Questions`."""
        return json_object(self._flux("resource", "R", f"--states={state}"), "flux resource R")

    def offline(self) -> str:
        """See `Questions`."""
        printed = self._flux("resource", "status", "--no-header", "--states=offline", "--format={ranks}")
        return ",".join(filter(None, printed.split()))

    def jobs(self, ids: Sequence[int] = ()) -> list[dict[str, Any]]:
        """See `Questions`."""
        try:
            printed = self._flux("jobs", "--json", *map(str, ids))
        except CommandFailed as error:
            if ids and "unknown" in error.output:
                return []
            raise
        if not printed.strip():  # an unknown job is said on stderr only
            return []
        answer = json_object(printed, "flux jobs --json")
        return [dict(entry) for entry in answer.get("jobs", [answer])]

    def attribute(self, name: str) -> str | None:
        """See `Questions`."""
        try:
            return self._flux("getattr", name).strip()
        except CommandFailed as error:
            if "No such file" in error.output:
                return None
            raise

    def job_id(self, text: str) -> int:
        """See `Questions`."""
        try:
            return int(self._flux("job", "id", "--to=dec", "--", text))
        except (CommandFailed, ValueError):
            raise UsageError(f"{text!r} is no Flux job id") from None

    def job_info(self, job: int, key: str) -> str:
        """See `Questions`."""
        try:
            return self._flux("job", "info", str(job), key)
        except CommandFailed as error:
            reason = error.output.strip().rpartition("flux-job: ")[2] or str(error)
            raise UsernetesError(reason, tried=f"read {key} of the job {job}") from None


class ByPython:
    """Asks with flux-python. A handle must not be shared by threads, so every question opens its own."""

    def __init__(self, uri: str = "") -> None:
        self._uri = uri

    @staticmethod
    def usable() -> bool:
        """Whether the bindings can be imported here."""
        try:
            importlib.import_module("flux.job")
        except (ImportError, OSError):
            return False
        return True

    def _handle(self) -> Any:
        with _asking(f"connect to Flux {self._uri}".strip()):
            return importlib.import_module("flux").Flux(self._uri or None)

    def resources(self, state: str = "all") -> dict[str, Any]:
        """See `Questions`."""
        with _asking("list the resources of Flux"):
            listed = importlib.import_module("flux.resource").resource_list(self._handle()).get()
        return json_object(listed[state].encode(), "resource set")

    def offline(self) -> str:
        """See `Questions`."""
        with _asking("ask Flux which brokers are lost"):
            return str(self._handle().rpc("resource.status", nodeid=0).get().get("offline", ""))

    def jobs(self, ids: Sequence[int] = ()) -> list[dict[str, Any]]:
        """See `Questions`."""
        listing = importlib.import_module("flux.job").JobList
        handle = self._handle()
        with _asking("list the jobs of Flux"):
            if ids:
                found = listing(handle, ids=list(ids)).jobs()
            else:
                found = listing(handle, user=str(os.getuid()), filters=["active"], max_entries=0).jobs()
        return [json.loads(json.dumps(job.to_dict(filtered=False), default=str)) for job in found]

    def attribute(self, name: str) -> str | None:
        """See `Questions`."""
        handle = self._handle()
        with _asking(f"read the attribute {name} of Flux"):
            try:
                return str(handle.attr_get(name))
            except FileNotFoundError:
                return None

    def job_id(self, text: str) -> int:
        """See `Questions`."""
        try:
            return int(importlib.import_module("flux.job").JobID(text))
        except (ValueError, OSError):
            raise UsageError(f"{text!r} is no Flux job id") from None

    def job_info(self, job: int, key: str) -> str:
        """See `Questions`."""
        with _asking(f"read {key} of the job {job}"):
            answer = self._handle().rpc("job-info.lookup", {"id": job, "keys": [key], "flags": 0}).get()
        return str(answer[key])


@contextlib.contextmanager
def _asking(tried: str) -> Iterator[None]:
    """What flux-python raises of a question is a `UsernetesError`, as with the command."""
    try:
        yield
    except OSError as error:
        raise UsernetesError(f"{error.strerror or error}", tried=tried) from None


def json_object(text: str, source: str) -> dict[str, Any]:
    """The JSON object in `text`; raises `UsernetesError` that names `source` when it is none."""
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UsernetesError(f"expected a JSON object from {source}, got {text.strip()[:80]!r}")
    return value
