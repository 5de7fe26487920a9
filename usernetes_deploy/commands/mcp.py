"""The verb for agents: mcp."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from usernetes_deploy.commands.common import CLUSTER_HELP, Verb, chosen, node_program, roots
from usernetes_deploy.errors import UsernetesError


@task(klass=Verb, help={"cluster": CLUSTER_HELP + "; the server reads no other"})
def mcp(_: Context, cluster: str | None = None) -> None:
    """Let an agent read clusters: a server of the Model Context Protocol on stdin and stdout. It changes nothing.

    Examples:

      usernetes mcp
      usernetes mcp --cluster demo
    """
    try:
        from usernetes_deploy.mcp.server import Tools, serve
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("mcp", "mcp_types"):
            raise
        raise UsernetesError(
            "the package mcp is not installed", tried="usernetes mcp", remedy="pip install 'usernetes-deploy[mcp]'"
        ) from error
    serve(Tools(roots(), node_program(), chosen, cluster))


TASKS = (mcp,)
