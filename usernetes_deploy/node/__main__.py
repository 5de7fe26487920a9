"""The node program, ``node.pyz``: what the driver runs on the far side.

::

    run        keep a node in the foreground; its blob comes on stdin
    start      the same in the background: returns when the node's keeper stands
    supervise  (internal) the supervisor, started by rootlesskit
    save       have a node write its objects or volumes to its folder (what, as JSON on stdin)
    network    give a node another part of the network (JSON on stdin): peers come and go
    status     what a node says of itself, as JSON
    find       the user's nodes on this host, as JSON
    stop       end the node of a folder and remove the folder (or, with --stay, leave it)
    logs       the end of a component's log, or all that comes
    enter      run a command inside a node's namespaces
    inside     run a command of the host, as the user, inside the cluster's network
    ports      what is published on the host, as JSON
    audit      who did what through the API, a JSON object a line
    stage      put a bundle on this host's disk, verified
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path

from usernetes_deploy.errors import UsernetesError


def main(argv: list[str] | None = None) -> int:
    """Run one verb; errors go to stderr as text, with the exit code of their kind."""
    parser = argparse.ArgumentParser(prog="node.pyz", description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(dest="verb", required=True)
    run = commands.add_parser("run")
    run.add_argument("--die-with-parent", action="store_true")
    run.add_argument("--share", help="what of the host is the job's (JSON), see node.share")
    start = commands.add_parser("start")
    for command in (run, start):  # `stop` finds a keeper by its command line, even one that has only just started
        command.add_argument("--directory", type=Path, help="the node's folder, as its blob has it")
    commands.add_parser("supervise")
    for name in ("status", "network", "renew", "save", "stop", "logs", "enter", "inside", "ports", "audit"):
        command = commands.add_parser(name)
        command.add_argument("directory", type=Path)
        if name == "status":
            command.add_argument("--brief", action="store_true", help="only what the node wrote, nothing asked")
        if name == "stop":
            command.add_argument("--rootlesskit", default="rootlesskit")
            command.add_argument("--keep", type=Path, help="move the logs here first")
            command.add_argument("--late", action="store_true", help="its start may still be under way")
            command.add_argument("--stay", action="store_true", help="the folder stays, for a later start")
        if name == "logs":
            command.add_argument("--component", action="append", default=[])
            command.add_argument("--lines", type=int, default=50)
            command.add_argument("--follow", action="store_true")
        if name == "audit":
            _audit_flags(command)
        if name == "enter":
            command.add_argument("--host-network", action="store_true")
            command.add_argument("command", nargs=argparse.REMAINDER)
        if name == "inside":
            command.add_argument("--dns", required=True, help="address of the cluster's DNS server")
            command.add_argument("--domain", default="cluster.local")
            command.add_argument("--namespace", default="default", help="where short names are looked for")
            command.add_argument("--socks", action="store_true", help="be a proxy; its password comes on stdin")
            command.add_argument("command", nargs=argparse.REMAINDER)
    find = commands.add_parser("find")
    find.add_argument("--folder", type=Path, help="another place for nodes than the usual ones")
    prune = commands.add_parser("prune")
    prune.add_argument("--folder", type=Path, help="another place for bundles than the usual ones")
    prune.add_argument("--keep", action="append", default=[], help="name of a bundle that stays")
    stage = commands.add_parser("stage")
    stage.add_argument("source", type=Path)
    stage.add_argument("parent", type=Path)
    options = parser.parse_args(argv)
    try:
        return _dispatch(options)
    except UsernetesError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _audit_flags(command: argparse.ArgumentParser) -> None:
    command.add_argument("--since", default="", help="a time as 2026-01-02T12:00:00.000000Z")
    command.add_argument("--user", default="")
    command.add_argument("--only", action="append", default=[], help="a verb")
    command.add_argument("--lines", type=int, default=1000, help="the last so many")
    command.add_argument("--last", help="instead: when users asked last whose names begin so")


def _dispatch(options: argparse.Namespace) -> int:
    """Run the verb. Each imports what it needs: the keeper stays as long as its node, and shall be small."""
    if options.verb in ("run", "start"):
        return _keep(
            in_background=options.verb == "start",
            of_a_job=getattr(options, "die_with_parent", False),
            said=getattr(options, "share", None),
        )
    if options.verb in ("network", "renew", "save", "inside", "ports"):
        from usernetes_deploy.node import folder

        folder.check(options.directory)
    if options.verb == "supervise":
        from usernetes_deploy.node import supervisor

        supervisor.main()
    elif options.verb == "stage":
        from usernetes_deploy.bundle import stage

        print(stage.stage(options.source, options.parent))
    elif options.verb == "inside":
        from usernetes_deploy.network import inside

        resolver = inside.resolver_text(options.dns, options.domain, options.namespace)
        if options.socks:
            inside.serve_socks(options.directory, resolver, sys.stdin.read().strip())
        else:
            inside.become(options.directory, _command(options), resolver)
    elif options.verb == "ports":
        from usernetes_deploy.network.publish.rootlesskit import RootlesskitPorts

        print(json.dumps(RootlesskitPorts(str(options.directory / "rk" / "api.sock")).published()))
    elif options.verb == "save":
        from usernetes_deploy.node.control import SUPERVISOR, ask

        print(json.dumps(ask(options.directory / SUPERVISOR, {"verb": "save", **json.load(sys.stdin)}, timeout=3600)))
    elif options.verb in ("network", "renew"):
        from usernetes_deploy.node.control import KEEPER, SUPERVISOR, ask

        said = json.load(sys.stdin)
        request = {"network": said} if options.verb == "network" else {"files": said["files"]}
        ask(options.directory / KEEPER, {"verb": "remember", **request})  # or a node that dies begins with the old ones
        ask(options.directory / SUPERVISOR, {"verb": options.verb, **request})
    else:
        _on_a_folder(options)
    return 0


def _keep(*, in_background: bool, of_a_job: bool, said: str | None) -> int:
    from usernetes_deploy.node import folder, verbs
    from usernetes_deploy.node.config import NodeConfig
    from usernetes_deploy.node.keeper import Keeper, own_program
    from usernetes_deploy.node.procfs import die_with_parent
    from usernetes_deploy.node.share import Share

    if of_a_job:
        die_with_parent(signal.SIGTERM)  # there is something to tidy up
    config = NodeConfig.from_json(sys.stdin.buffer.read())
    keeper = Keeper(config, [*own_program(), "supervise"], of_a_job, Share.from_text(said) if said else None)
    if in_background:
        return verbs.in_background(keeper)
    if of_a_job:
        folder.sweep(config.root.parent, config.binary("rootlesskit"))
    return keeper.run()


def _on_a_folder(options: argparse.Namespace) -> None:
    from usernetes_deploy.node import folder, verbs

    if options.verb == "status":
        print(json.dumps(verbs.status(options.directory, brief=options.brief)))
    elif options.verb == "find":
        print(json.dumps(folder.find(options.folder)))
    elif options.verb == "prune":
        print(json.dumps(verbs.prune(options.folder, options.keep)))
    elif options.verb == "stop":
        verbs.stop(options.directory, options.rootlesskit, options.keep, late=options.late, stay=options.stay)
    elif options.verb == "logs":
        verbs.logs(options.directory, options.component, options.lines, options.follow)
    elif options.verb == "audit":
        verbs.audit(options)
    elif options.verb == "enter":
        verbs.enter(options.directory, _command(options), options.host_network)


def _command(options: argparse.Namespace) -> list[str]:
    words: list[str] = options.command
    return words[1:] if words[:1] == ["--"] else words


if __name__ == "__main__":
    sys.exit(main())
