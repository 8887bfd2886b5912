"""The template that everything here is built from: one step of dependencies, one file of code, an agent that waits.

The agent does nothing: what its start costs is the same on both sides, and would only blur the comparison.
"""

from tests.support.git_objects import File
from tests.support.templates import BASE_IMAGE, config, wheel

Files = dict[str, str | bytes | File]

_DOCKERFILE = f"""FROM {BASE_IMAGE}
WORKDIR /app
COPY requirements.txt ./
COPY wheels/ wheels/
RUN pip install --no-cache-dir --no-index --find-links wheels -r requirements.txt
COPY agent.sh ./
CMD ["sh", "agent.sh"]
"""
_WAIT = "trap 'exit 0' TERM\nsleep infinity &\nwait\n"  # process 1 ignores a SIGTERM that it does not ask for


def template(runtime: str, *, dependencies: str = "", code: str = "", step: str = "true") -> Files:
    """The files of a repository: ``dependencies`` and ``code`` make their layers differ, ``step`` is one more RUN."""
    return {
        "Dockerfile": _DOCKERFILE.replace("COPY agent.sh", f"RUN {step}\nCOPY agent.sh"),
        "requirements.txt": f"# {dependencies}\nfixture-words==1.0.0\n",
        "wheels/fixture_words-1.0.0-py3-none-any.whl": wheel("fixture-words", "1.0.0", "WORDS = 'from the wheel'\n"),
        "agent.sh": agent(code),
        "config.yaml": config(runtime),
    }


def agent(code: str) -> str:
    """The one file of code, different for every ``code``."""
    return f"# {code}\n{_WAIT}"
