"""The settings that a user gave to git change nothing of a push, and git's own words are shown."""
from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import PIPELINE, Lab

# Signs like gpg, and has much to say when a signature is shown.
GPG = """\
#!/bin/sh
cat > /dev/null
case "$*" in
*--verify*) echo "gpg: Good signature" >&2; echo "[GNUPG:] GOODSIG 1 Ann";;
*) echo "[GNUPG:] SIG_CREATED D 1 1 00 1 1" >&2; echo "-----BEGIN PGP SIGNATURE-----"; echo x
   echo "-----END PGP SIGNATURE-----";;
esac
"""
SETTINGS = {
    "what git prints": """
        log.showSignature=true i18n.logOutputEncoding=utf-16 core.quotePath=true
        color.ui=always color.remote=never
        format.pretty=oneline log.decorate=full log.date=raw log.follow=true log.mailmap=false
        column.ui=always diff.noprefix=true diff.mnemonicPrefix=true diff.external=false
        diff.relative=true diff.orderFile=/nowhere core.pager=false pager.log=true
        status.showUntrackedFiles=no status.short=true status.branch=true core.abbrev=4
        advice.detachedHead=true help.autocorrect=immediate trace2.normalTarget={}/trace""",
    "what git refuses": """
        safe.bareRepository=explicit protocol.version=0 protocol.allow=user user.useConfigOnly=true
        fetch.fsckObjects=true transfer.fsckObjects=true receive.fsckObjects=true
        receive.denyNonFastForwards=true receive.denyDeletes=true receive.denyCurrentBranch=refuse
        transfer.hideRefs=refs/builds uploadpack.hideRefs=refs receive.unpackLimit=1
        core.sharedRepository=group commit.gpgSign=true gpg.format=ssh""",
    "what a checkout writes": """
        core.autocrlf=true core.eol=crlf core.safecrlf=true core.attributesFile={}/attributes
        core.excludesFile={}/excludes core.symlinks=false core.fileMode=false
        core.hooksPath={}/hooks init.templateDir={}/template init.defaultBranch=trunk
        core.fsmonitor=/bin/false core.splitIndex=true index.version=4 core.untrackedCache=true
        submodule.recurse=true core.bigFileThreshold=1 checkout.workers=0 feature.manyFiles=true""",
    "what a push does": """
        push.followTags=true push.default=nothing push.autoSetupRemote=true tag.sort=-taggerdate
        remote.pushDefault=elsewhere fetch.recurseSubmodules=true fetch.prune=true
        fetch.writeCommitGraph=true clone.defaultRemoteName=up gc.auto=1 maintenance.auto=true
        core.logAllRefUpdates=always merge.renames=false rerere.enabled=true""",
}
STEPS = """\
steps:
- name: a
  image: x
  commands: ["od -c data.txt", "ls -F", "git status --porcelain", "git rev-parse HEAD"]
"""


def plain(log: str) -> str:
    """Return what a build printed, without what differs from build to build."""
    return re.sub(r"exp-[0-9]|(?:build|logs|cancel) [0-9]|[0-9.]+ s\b", "…",
                  log.partition("\nTo .lab")[0])


@pytest.fixture
def signed_lab(make_lab: Callable[[], Lab], tmp_path: Path) -> Lab:
    """Return a lab whose last commit is signed, with two pipelines: one clones all, one a part."""
    lab = make_lab()
    gpg = tmp_path / "gpg"
    gpg.write_text(GPG)
    gpg.chmod(0o755)
    lab.write("data.txt", "a\nb\n")
    lab.write("Grün.py", "x = 1\n")
    (lab.path / "link").symlink_to("data.txt")
    two = PIPELINE.replace("name: exp", "name: two") + "depends_on: [exp]\nclone: {depth: 1}\n"
    lab.pipeline("", f"{PIPELINE}{STEPS}---\n{two}{STEPS}")
    lab.git("-c", f"gpg.program={gpg}", "commit", "-q", "-S", "--amend", "-m", "Grün signiert")
    lab.git("config", "gpg.program", str(gpg))
    return lab


def test_a_users_settings_change_nothing_of_a_push(signed_lab: Lab, tmp_path: Path) -> None:
    expected = plain(signed_lab.push_tag("exp-1"))
    assert "Good signature" in signed_lab.git("log", "-1", "--show-signature")
    assert "[exp/a] Grün.py" in expected and "[two/a] link@" in expected, expected
    (tmp_path / "attributes").write_text("* text=auto eol=crlf\n")
    (tmp_path / "excludes").write_text("*\n")
    (tmp_path / "hooks").mkdir()
    for name in ("post-checkout", "post-index-change", "reference-transaction"):
        (tmp_path / "hooks" / name).write_text("#!/bin/sh\necho a hook ran\nexit 1\n")
        (tmp_path / "hooks" / name).chmod(0o755)
    found = {}
    for number, settings in enumerate(SETTINGS.values(), start=2):
        config = tmp_path / f"config-{number}"
        for setting in settings.replace("{}", str(tmp_path)).split():
            signed_lab.git("config", "--file", str(config), "--add", *setting.split("=", 1))
        signed_lab.git("tag", "-m", "annotated", f"exp-{number}")
        pushed = signed_lab.git("push", "origin", f"refs/tags/exp-{number}",
                                GIT_CONFIG_GLOBAL=str(config))
        found[number] = plain(pushed)
    assert found == dict.fromkeys(found, expected)
    commit = signed_lab.build(2).commit
    assert (commit.author_name, commit.message) == ("Ann Lee", "Grün signiert")


def test_what_git_refuses_is_shown_as_git_says_it(lab: Lab) -> None:
    lab.pipeline(STEPS)
    lab.git("push", "-q", "origin", "main")
    lab.git("tag", "exp-1")
    blob = lab.git("rev-parse", "HEAD:.drone.yml")
    os.remove(lab.path / ".lab/origin.git/objects" / blob[:2] / blob[2:])
    shown = lab.git("push", "origin", "exp-1")
    assert "has no .drone.yml" not in shown and "names no commit" not in shown
    assert f"exp-1: git show {lab.git('rev-parse', 'HEAD')}:.drone.yml: " in shown
    assert ":.drone.yml: fatal: bad object" in shown and lab.build() is None


def test_a_lab_of_sha256_runs(make_lab: Callable[..., Lab],
                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DEFAULT_HASH", "sha256")
    lab = make_lab()
    monkeypatch.delenv("GIT_DEFAULT_HASH")
    lab.write("data.txt", "")
    lab.pipeline(STEPS, PIPELINE + "clone: {depth: 1}\n")
    commit = lab.git("rev-parse", "HEAD")
    assert len(commit) == 64 and f"[a] {commit}" in lab.push_tag("exp-1")
    lab.git("push", "-q", "--delete", "origin", "exp-1")
    assert lab.build(2) is None


@pytest.mark.parametrize("name", ["100%", "a%41b", "what? #1 & é"])
def test_a_lab_may_have_any_name(make_lab: Callable[[str], Lab], name: str) -> None:
    from taglab.tracking.store import sqlite_file
    lab = make_lab(name)
    lab.pipeline("steps: [{name: a, image: x, commands: ['echo at $MLFLOW_TRACKING_URI', "
                 "git fetch -q origin $DRONE_TAG]}]\n", PIPELINE + "clone: {depth: 1}\n")
    shown = lab.push_tag("exp-1")
    uri = next(line for line in shown.splitlines() if line.startswith("[a] at "))
    assert sqlite_file(uri.removeprefix("[a] at ")) == lab.path / "mlflow.db"
    assert lab.build().status == "success", shown
    assert sorted(path.name for path in lab.path.parent.iterdir()) == [name]
