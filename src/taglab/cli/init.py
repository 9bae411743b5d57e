"""`lab init`: makes what a fresh clone lacks: the local remote, the environment and `.venv`."""
from __future__ import annotations

import json
import re
import shutil
import sys
import venv
from pathlib import Path

from taglab.errors import LabError
from taglab.runner.environment import ensure_environment
from taglab.runner.git import GitError
from taglab.runner.remote import make_remote

_LAB_COMMAND = """\
#!/bin/sh
exec "$(dirname "$0")/python" "$(dirname "$0")/../../vendor/taglab" "$@"
"""
# Finds the lab from where `.venv` is, so that the lab can be moved.
_PATHS = """\
\"\"\"Puts the lab's code and its copy of the library before all installed packages.\"\"\"
import os
import site
import sys

lab = os.path.dirname(sys.prefix)
place = sys.path.index(os.path.dirname(__file__))
sys.path[place:place] = [os.path.join(lab, "lab"), os.path.join(lab, "vendor")]
site.addsitedir({packages!r})
"""
# Finds the interpreter next to the script, so that the lab can be moved.
_RELOCATABLE = b"""#!/bin/sh
'''exec' "$(dirname -- "$0")/python" "$0" "$@"
' '''
"""


def init(lab: Path, as_json: bool = False) -> int:
    """Make or renew `.lab`, the local remote and `.venv` in `lab`; return an exit status."""
    progress = sys.stderr if as_json else sys.stdout
    try:
        remote = make_remote(lab)
        environment = ensure_environment(
            lab, report=lambda line: print(line, file=progress, flush=True))
        make_venv(lab, environment)
    except GitError as error:
        print(error, file=sys.stderr)
        if "not a git repository" in str(error):
            print("Type: git init -b main && git add -A && git commit -m 'A lab', and then this "
                  "command again.", file=sys.stderr)
        return 1
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    made = {"lab": str(lab), "remote": remote, "environment": str(environment)}
    print(json.dumps(made, indent=1) if as_json else f"""The lab is ready. You can now type:
  . .venv/bin/activate                            to use the lab's Python and the lab command
  git tag run-examples-v1 && git push {remote} run-examples-v1
  lab ui                                          to see the results""")
    return 0


def make_venv(lab: Path, environment: Path) -> None:
    """Make `.venv` anew: a thin environment that uses the packages of `environment`."""
    folder = lab / ".venv"
    venv.EnvBuilder(symlinks=True, clear=True, prompt=lab.name).create(folder)
    packages = next((environment / "lib").glob("python*/site-packages"))
    here = next((folder / "lib").glob("python*/site-packages"))
    (here / "_lab_paths.py").write_text(_PATHS.format(packages=str(packages)), encoding="utf-8")
    (here / "lab.pth").write_text("import _lab_paths\n", encoding="utf-8")
    for script in sorted((environment / "bin").iterdir()):
        _copy_script(script, folder / "bin" / script.name)
    command = folder / "bin" / "lab"
    command.write_text(_LAB_COMMAND, encoding="utf-8")
    command.chmod(0o755)
    _unbind_activate(folder)


def _copy_script(script: Path, copy: Path) -> None:
    if copy.exists() or not script.is_file():
        return
    first, _, rest = script.read_bytes().partition(b"\n")
    if first.startswith(b"#!") and b"python" in first:
        copy.write_bytes(_RELOCATABLE + rest)
        shutil.copymode(script, copy)


def _unbind_activate(folder: Path) -> None:
    """Make `activate` (bash, zsh) look up its own folder, so that the lab can be moved."""
    activate = folder / "bin" / "activate"
    found = '$(cd "$(dirname "${BASH_SOURCE:-$0}")/.." > /dev/null && pwd)'
    text = activate.read_text(encoding="utf-8")
    text = re.sub(r"VIRTUAL_ENV=(['\"]?)" + re.escape(str(folder)) + r"\1",
                  lambda _: f'VIRTUAL_ENV="{found}"', text)
    activate.write_text(text, encoding="utf-8")
