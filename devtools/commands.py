"""The commands of dev.py: read the command line, find the host, and hand over to a program in the host's Python."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from devtools import ROOT
from devtools.comfyui import matrix
from devtools.comfyui.choose import NEEDED_TO_TEST, Host, HostError, check_modules, find_or_fetch
from devtools.comfyui.fetch import RELEASES

REQUIREMENTS = ROOT / "devtools" / "requirements"

# Python's own -m would look in the working directory, which is the user's, not in the checkout.
_LAUNCH = (
    "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)

DESCRIPTION = """\
Develop the pack on a real ComfyUI: the one that --comfyui or the environment variable COMFYUI_PATH names, else the one
this checkout is installed in, else the newest pinned release; --host names an older one. A named folder runs on its own
environment (venv or .venv), else on the Python that runs this where it has what the folder's requirements.txt asks for,
else on an environment made of that file. Pinned releases and environments are made once, in .host/ (about 6 GB each).
"""


def demo_options(parser: argparse.ArgumentParser) -> None:
    model = parser.add_mutually_exclusive_group()
    model.add_argument(
        "--model",
        choices=("unet", "flux"),
        default="unet",
        help="which of the small icon models (default: %(default)s)",
    )
    model.add_argument("--checkpoint", metavar="NAME", help="a checkpoint of your ComfyUI instead")
    parser.add_argument("--workflow", metavar="NAME", help="a graph of workflows/ (default: the one for SD 1.5 sets)")
    parser.add_argument("--prompts", metavar="FILE", type=Path, help="one prompt a line; the first is the reference")
    parser.add_argument("--style", metavar="TEXT", help="added to every prompt, or a template with {prompt}")
    parser.add_argument("--steps", type=int, help="sampling steps (default: the graph's)")
    parser.add_argument("--seed", type=int, default=21, help="the same for both rows (default: %(default)s)")
    parser.add_argument("--cfg", type=float, help="guidance scale (default: the graph's)")
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=ROOT / "output" / "demo", help="default: output/demo"
    )


def serve_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=8188, help="default: %(default)s")
    parser.add_argument("--listen", metavar="IP", default="127.0.0.1", help="default: this machine only")


@dataclass(frozen=True)
class Command:
    """A program that dev.py starts; without `options` its arguments go to it as they are."""

    module: str
    summary: str
    options: Callable[[argparse.ArgumentParser], None] | None = None
    needs: Callable[[list[str]], tuple[str, ...]] = lambda _arguments: ()  # modules, to do what is asked
    requirements: str = "development.txt"  # has what is needed
    in_root: bool = False
    of_arguments: Callable[[list[str]], list[str]] = list  # what the program is given for the command's arguments


def is_of_a_checkpoint(arguments: list[str]) -> bool:
    """Whether `evaluate` is asked for a checkpoint of the user's, whose report has no plot."""
    return any(word.split("=")[0] == "--checkpoint" for word in arguments)


def of_the_suite(arguments: list[str]) -> list[str]:
    """Where no tests are chosen: those of every day, or with --all all of them, in two processes.

    One file or folder is sooner done without the start of two.
    """
    rest = [word for word in arguments if word != ALL]
    if matrix.named_tests(rest):
        return rest
    is_split = any(word.startswith(("-n", "--numprocesses", "--dist", "--pdb")) for word in rest)
    is_chosen = ALL in arguments or any(word.startswith(("-k", "-m", "--lf", "--last-failed")) for word in rest)
    return [*(() if is_split else TWO_PROCESSES), *(() if is_chosen else EVERY_DAY), *rest]


ALL = "--all"
EVERY_DAY = ("-m", "not thorough")
TWO_PROCESSES = ("-n2", "--no-loadscope-reorder")
COMMANDS = {
    "demo": Command("devtools.demo", "draw a set twice, without and with style sharing, and show it", demo_options),
    "test": Command(
        "pytest",
        "run the tests: all but the thorough ones, in some minutes; with --all these too, as CI does; or those named, "
        "thorough or not. All else goes to pytest",
        needs=lambda _arguments: tuple(NEEDED_TO_TEST),
        in_root=True,
        of_arguments=of_the_suite,
    ),
    "matrix": Command(
        "devtools.comfyui.matrix",
        "run the tests on every pinned release, and on the folder that --comfyui names, and print a table: all of them "
        f"on the newest pinned one, and {', '.join(matrix.TOUCH_THE_HOST)} on the others, or those named. With --jobs "
        "N, N at a time; with --older, all but the newest pinned one; all else goes to pytest",
    ),
    "serve": Command("devtools.comfyui.serve", "start ComfyUI in the browser with the pack in it", serve_options),
    "bench": Command(
        "devtools.measuring.bench",
        "measure time and memory of a UNet step, or with --sdxl of SDXL on a GPU; all else goes to the program",
    ),
    "train": Command("toy.train", "train a small icon model, or go on training it; all else goes to the program"),
    "evaluate": Command(
        "devtools.evaluate",
        "measure how well sets take on one style, with every option, or with --checkpoint NAME on a model of yours; "
        "all else goes to the program",
        needs=lambda arguments: () if is_of_a_checkpoint(arguments) else ("matplotlib",),
        requirements="evaluation.txt",
    ),
}


def main(arguments: list[str]) -> int:
    common = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    host = common.add_mutually_exclusive_group()
    host.add_argument("--comfyui", metavar="PATH", help="the ComfyUI folder to work with")
    host.add_argument("--host", metavar="VERSION", choices=RELEASES, help=f"a pinned release: {', '.join(RELEASES)}")
    chosen, rest = common.parse_known_args(arguments)
    name = _parse(rest, common)
    passed_on = rest[rest.index(name) + 1 :]
    try:
        if name == "matrix":  # in this Python: each of its runs finds a host and that host's Python
            if chosen.host:
                common.error("matrix runs on all pinned releases; on one of them: dev.py test --host VERSION")
            return matrix.main(passed_on, comfyui=chosen.comfyui)
        return _hand_over(COMMANDS[name], find_or_fetch(chosen.comfyui, chosen.host), passed_on)
    except HostError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on where this ended", file=sys.stderr)
        return 130


def _parse(arguments: list[str], common: argparse.ArgumentParser) -> str:
    """The command's name; bad options end the program here, before anything is fetched."""
    parser = argparse.ArgumentParser(prog="dev.py", description=DESCRIPTION, parents=[common], allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        sub = commands.add_parser(name, help=command.summary, description=command.summary, allow_abbrev=False)
        if command.options:
            command.options(sub)
    parsed, unknown = parser.parse_known_args(arguments)
    if unknown and COMMANDS[parsed.command].options:
        parser.error(f"{parsed.command} has no argument {' '.join(unknown)}")
    return str(parsed.command)


def _hand_over(command: Command, host: Host, arguments: list[str]) -> int:
    """Run the command's program in the host's Python, in place of this process where the system can do that."""
    if needed := command.needs(arguments):
        check_modules(host, needed, f'"{host.python}" -m pip install -r "{REQUIREMENTS / command.requirements}"')
    words = [str(host.python), "-c", _LAUNCH, str(ROOT), command.module, *command.of_arguments(arguments)]
    # Torch's threads spin while they wait for each other: beside any other busy program that made small models, such as
    # those of the tests and the demo, up to twenty times slower.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "COMFYUI_PATH": str(host.comfyui)}
    if command.in_root:
        os.chdir(ROOT)
    sys.stdout.flush()
    if os.name != "nt":  # replacing this process lets signals reach the program itself
        os.execve(words[0], words, environment)
    return subprocess.run(words, env=environment, check=False).returncode
