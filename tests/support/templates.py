"""The files of template repositories that tests build from: good ones, broken ones, hostile ones."""

import base64
import hashlib
import io
import zipfile
from pathlib import Path

from .git_objects import File, read_files, submodule, symlink

BASE_IMAGE = "python:3.11-slim"
BROKEN_OUTPUT = "this step fails on purpose"
BROKEN_EXIT_CODE = 23
LFS_POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n"

Files = dict[str, str | bytes | File]

# Process 1 ignores a SIGTERM that it does not ask for.
_WAIT = """CMD ["sh", "-c", "trap 'exit 0' TERM; sleep infinity & wait"]\n"""
_LIKE_REAL = Path(__file__).parent / "template_like_real"


def real_template(runtime: str = "langgraph") -> Files:
    """A template shaped like the real ones; building it needs a Debian mirror, its image runs a whole agent."""
    files: Files = dict(read_files(_LIKE_REAL))
    files["config.yaml"] = (_LIKE_REAL / "config.yaml").read_text().replace("langgraph", runtime)
    files["wheels/fixture_words-1.0.0-py3-none-any.whl"] = wheel("fixture-words", "1.0.0", 'WORDS = "from the wheel"\n')
    return files


def agent_template(runtime: str = "langgraph") -> Files:
    """The same agent in an image that is built in a moment and offline; it runs as root."""
    everything = real_template(runtime)
    dockerfile = f'FROM {BASE_IMAGE}\nWORKDIR /app\nCOPY adapter.py ./\nCMD ["python3", "-u", "adapter.py"]\n'
    return {"Dockerfile": dockerfile, "adapter.py": everything["adapter.py"], "config.yaml": everything["config.yaml"]}


def tiny_template(runtime: str = "langgraph", *, content: str = "") -> Files:
    """The cheapest image that still runs: one copied file, a process that waits and never registers.

    ``content`` makes otherwise equal templates differ.
    """
    dockerfile = f"FROM {BASE_IMAGE}\nCOPY content /content\n{_WAIT}"
    return {"Dockerfile": dockerfile, "content": content, "config.yaml": config(runtime)}


def config(runtime: str) -> str:
    """The smallest config.yaml."""
    return f"name: Tiny {runtime}\ndescription: ''\nversion: 1.0.0\ntier: 2\nruntime: {runtime}\nruntime_config: {{}}\n"


def broken_template(step: int = 2, steps: int = 3) -> Files:
    """A template whose n-th step of so many (the first is FROM) writes BROKEN_OUTPUT and ends with BROKEN_EXIT_CODE."""
    if not 2 <= step <= steps:
        raise ValueError(f"step {step} of {steps} is not a RUN")
    fails = f"RUN echo {BROKEN_OUTPUT} && exit {BROKEN_EXIT_CODE}"
    runs = [fails if n == step else f"RUN echo step {n}" for n in range(2, steps + 1)]
    return dockerfile_only("\n".join([f"FROM {BASE_IMAGE}", *runs, ""]))


def noisy_template(lines: int) -> Files:
    """A template whose one RUN writes so many numbered lines, and then fails."""
    return dockerfile_only(f"FROM {BASE_IMAGE}\nRUN seq -f 'line %.0f' {lines} && exit {BROKEN_EXIT_CODE}\n")


def silent_template(seconds: int, *, then: str = "true") -> Files:
    """A template whose one RUN is silent so long, for stall clocks and kills in the middle of a build."""
    return dockerfile_only(f"FROM {BASE_IMAGE}\nRUN sleep {seconds} && {then}\n{_WAIT}")


def calling_template(url: str) -> Files:
    """A template whose RUN asks a test host: it counts real builds, and goes on when the host answers.

    The URL must be reachable from the engine's default network.
    """
    program = f"import urllib.request; print(urllib.request.urlopen('{url}').status)"
    return dockerfile_only(f'FROM {BASE_IMAGE}\nRUN python3 -c "{program}"\n{_WAIT}')


def missing_base_template() -> Files:
    """A template whose base image comes from a registry that refuses the connection."""
    return dockerfile_only("FROM 127.0.0.1:1/no/such-image:latest\nRUN true\n")


def dockerfile_only(dockerfile: str | File) -> Files:
    """A template with this Dockerfile and a small config.yaml."""
    return {"Dockerfile": dockerfile, "config.yaml": config("langgraph")}


def no_dockerfile() -> Files:
    """A template without a Dockerfile."""
    return {"README.md": "Nothing to build.\n", "config.yaml": config("langgraph")}


def symlink_dockerfile(target: str = "../Dockerfile") -> Files:
    """A template whose Dockerfile is a link; the default leaves the tree."""
    return dockerfile_only(symlink(target))


def folder_dockerfile() -> Files:
    """A template whose Dockerfile is a folder."""
    return {"Dockerfile/README.md": "Not a file.\n", "config.yaml": config("langgraph")}


def hostile_links() -> Files:
    """A template with links out of the tree: absolute, relative, through a folder, and to itself."""
    links = {"absolute": "/etc/passwd", "relative": "../../outside", "folder/up": "../../..", "loop": "loop"}
    return {**tiny_template(), **{name: symlink(target) for name, target in links.items()}}


def many_files(count: int) -> Files:
    """A template with so many small files, a thousand to a folder."""
    return {**tiny_template(), **{f"many/{n // 1000}/{n}": "x" for n in range(count)}}


def big_file(size: int) -> Files:
    """A template with one file of so many zero bytes; small in the repository, whole in a checkout."""
    return {**tiny_template(), "big": bytes(size)}


def odd_names() -> Files:
    """A template with names that break line-wise and shell-wise readers, all of them legal."""
    names = ("new\nline", "tab\there", "quote\"'", "-rf", " space ", "back\\slash", "$(touch x)", "ünïcode", "\udcff")
    return {**tiny_template(), **{f"odd/{name}": "x" for name in names}}


def git_folder_inside() -> Files:
    """A tree that git itself refuses to make and to check out: it brings its own ``.git``."""
    hook = File("#!/bin/sh\ntouch /tmp/hook-ran\n", 0o100755)
    return {**tiny_template(), ".git/hooks/post-checkout": hook, "sub/.git/config": "[core]\n"}


def with_lfs_pointer() -> Files:
    """A template with a file that LFS would replace while checking out."""
    return {**tiny_template(), ".gitattributes": "*.bin filter=lfs -text\n", "model.bin": LFS_POINTER}


def with_submodule(url: str, commit: str) -> Files:
    """A template with a submodule that a recursive clone would fetch."""
    modules = f'[submodule "module"]\n\tpath = module\n\turl = {url}\n'
    return {**tiny_template(), ".gitmodules": modules, "module": submodule(commit)}


def wheel(name: str, version: str, source: str) -> bytes:
    """A wheel with one module, the same bytes every time."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    files = {
        f"{module}.py": source,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{path},sha256={_digest(text)},{len(text)}" for path, text in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""])
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path), text)  # without a date of its own: 1980
    return out.getvalue()


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
