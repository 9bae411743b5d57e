"""A push runs the pipelines of `.drone.yml` as Drone would."""
from __future__ import annotations

import os
import signal
import subprocess

from .conftest import GIT_VARIABLES, PIPELINE, WAIT, Lab, wait_for


def test_a_tag_runs_its_pipeline_and_shows_the_output(lab: Lab) -> None:
    lab.pipeline("""\
        steps:
        - name: first
          image: python
          commands: [echo hello $DRONE_TAG, echo again]
        - name: second
          image: python
          commands: ["echo ${DRONE_TAG} ${DRONE_COMMIT_SHA:0:7}"]
        """)
    shown = lab.push_tag("exp-1")
    commit = lab.git("rev-parse", "HEAD")
    assert "[first] + echo hello $DRONE_TAG\n[first] hello exp-1\n[first] + echo again" in shown
    assert f"[second] exp-1 {commit[:7]}" in shown
    build = lab.build()
    assert (build.status, build.commit.sha, build.name) == ("success", commit, "exp-1")
    assert lab.steps() == {"clone": "success", "first": "success", "second": "success"}
    assert not (lab.path / ".lab/builds/1/work").exists()


def test_a_push_that_triggers_nothing_says_what_would(lab: Lab) -> None:
    lab.pipeline("steps: []\n")
    shown = lab.push_tag("other-1")
    assert "no pipeline of .drone.yml is triggered by refs/tags/other-1" in shown
    assert "refs/tags/exp-*" in shown
    assert lab.build() is None


def test_a_pushed_branch_is_a_push_event(lab: Lab) -> None:
    lab.pipeline("steps: [{name: a, image: x, commands: ['echo $DRONE_BRANCH.$DRONE_TAG.']}]\n",
                 PIPELINE.replace("ref: [refs/tags/exp-*]", "event: [push]"))
    assert "[a] main.." in lab.git("push", "origin", "main")
    assert lab.build().commit.event == "push"
    assert "no pipeline" in lab.push_tag("exp-1")


def test_a_failure_skips_later_steps_except_those_for_failures(lab: Lab) -> None:
    lab.pipeline("""\
        steps:
        - {name: ignored, image: x, commands: ["exit 4"], failure: ignore}
        - {name: fails, image: x, commands: ["exit 3", echo never]}
        - {name: skipped, image: x, commands: [echo never]}
        - {name: cleans, image: x, commands: [echo cleaning], when: {status: [failure]}}
        - {name: always, image: x, commands: [echo always], when: {status: [success, failure]}}
        - {name: elsewhere, image: x, commands: [echo never], when: {ref: [refs/tags/no-*]}}
        """)
    shown = lab.push_tag("exp-1")
    assert lab.build().status == "failure"
    assert lab.steps() == {"clone": "success", "ignored": "failure", "fails": "failure",
                           "skipped": "skipped", "cleans": "success", "always": "success"}
    assert "[fails] never" not in shown and "never\n" not in shown.replace("+ echo never", "")
    assert "failure (exit code 3)" in shown


def test_depends_on_turns_the_steps_into_a_graph(lab: Lab) -> None:
    lab.pipeline("""\
        steps:
        - name: waits
          image: x
          commands: ["timeout 60 sh -c 'until test -e begun; do sleep 0.1; done'", touch slow]
          depends_on: [clone]
        - {name: starts-at-once, image: x, commands: ["test ! -e slow", touch begun]}
        - {name: last, image: x, commands: [test -e slow], depends_on: [waits]}
        """)
    lab.push_tag("exp-1")
    assert lab.build().status == "success", lab.steps()


def test_pipelines_wait_for_those_they_depend_on(lab: Lab) -> None:
    one = PIPELINE + "steps: [{name: a, image: x, commands: [sleep 1, echo one]}]\n"
    two = one.replace("name: exp", "name: two\ndepends_on: [exp]").replace("echo one", "echo two")
    lab.pipeline("", f"{one}---\n{two}")
    shown = lab.push_tag("exp-1")
    assert shown.index("[exp/a] one") < shown.index("[two/clone]")
    lab.pipeline("", f"{one.replace('echo one', 'exit 1')}---\n{two}")
    lab.push_tag("exp-2")
    assert [each.status for each in lab.build(2).pipelines] == ["failure", "skipped"]


def test_steps_have_a_clean_environment(lab: Lab) -> None:
    lab.pipeline("""\
        environment: {PYTHONPATH: "/drone/src/lab:/other/drone/src", FROM: pipeline, DRONE_TAG: no}
        steps:
        - name: a
          image: x
          commands: [env, "pwd > $HOME/pwd", "cat $HOME/pwd", git status --porcelain]
          environment: {FROM: step, UNSET: ~}
        """)
    shown = lab.push_tag("exp-1", SHELL_ONLY="leaks", CUDA_VISIBLE_DEVICES="0,1",
                         MLFLOW_TRACKING_URI="http://elsewhere")
    variables = dict(line.removeprefix("[a] ").split("=", 1)
                     for line in shown.splitlines() if line.startswith("[a] ") and "=" in line)
    workspace = variables["DRONE_WORKSPACE"]
    assert variables["PYTHONPATH"] == f"{workspace}/lab:/other/drone/src"
    assert variables["FROM"] == "step" and variables["DRONE_TAG"] == "exp-1"
    assert "SHELL_ONLY" not in variables and "UNSET" not in variables
    assert variables["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert variables["MLFLOW_TRACKING_URI"] == f"sqlite:///{lab.path}/mlflow.db"
    assert variables["HOME"].startswith(str(lab.path / ".lab")) and f"[a] {workspace}\n" in shown


def test_only_what_was_committed_runs(lab: Lab) -> None:
    lab.write("script.sh", "echo committed\n")
    lab.pipeline("steps: [{name: a, image: x, commands: [sh script.sh, git log --oneline]}]\n")
    lab.write("script.sh", "echo edited\n")
    lab.write(".drone.yml", "broken: [")
    lab.git("tag", "exp-1")
    shown = lab.git("push", "origin", "exp-1")
    assert "[a] committed" in shown and "edited" not in shown


def test_closing_the_terminal_does_not_stop_the_build(lab: Lab) -> None:
    lab.pipeline("steps: [{name: a, image: x, "
                 f"commands: [echo started, '{WAIT}', echo done]}}]\n")
    lab.git("tag", "exp-1")
    push = subprocess.Popen(["git", "push", "origin", "exp-1"], cwd=lab.path, text=True,
                            env={**os.environ, **GIT_VARIABLES}, stderr=subprocess.PIPE,
                            start_new_session=True,  # reacting to SIGHUP as in a terminal
                            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL))
    for line in push.stderr:
        if line.startswith("remote: [a] started"):
            break
    os.killpg(push.pid, signal.SIGHUP)
    assert push.wait() != 0
    assert lab.build().status == "running"
    (lab.path / ".lab/state.go").touch()
    wait_for(lambda: lab.build().status == "success")
    assert "[a] done" in lab.lab("logs", "1").stdout


def test_a_build_whose_runner_is_killed_is_recorded_as_interrupted(lab: Lab) -> None:
    lab.pipeline("steps: [{name: a, image: x, commands: [echo started, sleep 60]}]\n")
    lab.git("tag", "exp-1")
    push = lab.start_push("-q", "origin", "exp-1")
    wait_for(lambda: lab.build() and lab.steps().get("a") == "running")
    holder = int((lab.path / ".lab/builds/1/held").read_text())
    os.kill(holder, signal.SIGKILL)
    push.wait(60)
    assert (lab.build().status, lab.build().error) == ("error", "interrupted")


def test_steps_get_secrets_and_the_log_masks_them(lab: Lab) -> None:
    lab.pipeline("""\
        steps:
        - name: a
          image: x
          commands: ["echo $KEY ${#KEY}", 'printf %s "$KEY" | wc -c', 'echo "[$NONE]"']
          environment: {KEY: {from_secret: Key}, NONE: {from_secret: none}}
        """)
    secrets = lab.path / ".lab/secrets.toml"
    secrets.write_text('key = "hunter2"\n')
    secrets.chmod(0o644)
    assert "chmod 600" in lab.push_tag("exp-1")
    secrets.chmod(0o600)
    shown = lab.push_tag("exp-2")
    assert "[a] ******" in shown and "[a] 7" in shown and "[a] []" in shown
    assert "hunter2" not in shown + lab.lab("logs", "2").stdout


def test_a_commit_without_a_drone_file_says_so(lab: Lab) -> None:
    assert "no .drone.yml" in lab.push_tag("exp-1")


def test_two_tags_in_one_push_are_two_builds(lab: Lab) -> None:
    lab.pipeline("steps: [{name: a, image: x, commands: [echo $DRONE_TAG.]}]\n")
    lab.git("tag", "exp-1")
    lab.git("tag", "-a", "exp-2", "-m", "annotated")
    shown = lab.git("push", "origin", "exp-1", "exp-2")
    assert "exp-1." in shown and "exp-2." in shown
    assert lab.build(1).commit.sha == lab.build(2).commit.sha == lab.git("rev-parse", "HEAD")


def test_a_global_hooks_path_does_not_disable_the_hook(lab: Lab, tmp_path) -> None:
    (tmp_path / "config").write_text(f"[core]\n\thooksPath = {tmp_path}/nowhere\n")
    lab.pipeline("steps: [{name: a, image: x, commands: [echo runs]}]\n")
    assert "[a] runs" in lab.push_tag("exp-1", GIT_CONFIG_GLOBAL=str(tmp_path / "config"))


def test_a_moved_lab_still_works(lab: Lab, tmp_path) -> None:
    lab.pipeline("steps: [{name: a, image: x, commands: [pwd]}]\n")
    lab.push_tag("exp-1")
    lab.path = lab.path.rename(tmp_path / "it's moved here")
    (lab.path / "below").mkdir()
    lab.git("tag", "exp-2")
    assert f"[a] {lab.path}/.lab" in lab.git("-C", "below", "push", "origin", "exp-2")
    assert "exp-1" in lab.lab("builds").stdout and "exp-2" in lab.lab("builds").stdout


def test_services_and_detached_steps_run_in_the_background(lab: Lab) -> None:
    lab.pipeline("""\
        services:
        - {name: server, image: x, commands: [echo service, echo up > up, sleep 60]}
        steps:
        - {name: helper, image: x, commands: [echo helps, touch helped, exit 3], detach: true}
        - {name: test, image: x, commands: ["until test -e up -a -e helped; do sleep 0.05; done"]}
        """)
    shown = lab.push_tag("exp-1")
    assert "[server] service" in shown and "[helper] helps" in shown
    assert set(lab.steps().values()) == {"success"} and lab.build().status == "success"
    assert lab.build().finished - lab.build().started < 30


def test_a_fast_failure_ends_the_steps_that_run_beside_it(lab: Lab) -> None:
    lab.pipeline("""\
        services:
        - {name: server, image: x, commands: [sleep 60]}
        steps:
        - {name: beside, image: x, commands: [touch begun, sleep 60], depends_on: [clone]}
        - {name: fails, image: x, failure: fast,
           commands: ["until test -e begun; do sleep 0.05; done", exit 3]}
        - {name: later, image: x, commands: [echo never], depends_on: [beside]}
        """)
    lab.push_tag("exp-1")
    assert lab.steps() == {"clone": "success", "server": "killed", "beside": "killed",
                           "fails": "failure", "later": "skipped"}
    assert lab.build().status == "killed"
    assert lab.build().finished - lab.build().started < 30


def test_a_working_directory_must_be_below_the_workspace(lab: Lab) -> None:
    lab.pipeline("""\
        steps:
        - {name: a, image: x, working_dir: /drone/src/sub/folder, commands: [pwd]}
        """)
    assert "/src/sub/folder" in lab.push_tag("exp-1")
    lab.pipeline("steps: [{name: a, image: x, working_dir: /etc, commands: [pwd]}]\n")
    assert "`working_dir` must be below /drone/src" in lab.push_tag("exp-2")


def test_a_pipeline_that_takes_too_long_is_killed(lab: Lab) -> None:
    lab.write("runtimes/machine.toml", "[limits]\ntimeout_minutes = 0.1\n")
    lab.pipeline("steps: [{name: a, image: x, commands: [sleep 60]}, "
                 "{name: b, image: x, commands: [echo never], when: {status: [failure]}}]\n")
    assert "killed after 0.1 minutes" in lab.push_tag("exp-1")
    assert lab.build().pipelines[0].status == lab.build().status == "killed"
    assert lab.steps() == {"clone": "success", "a": "killed", "b": "skipped"}


def test_a_concurrency_limit_holds_across_builds(lab: Lab) -> None:
    lab.pipeline("""\
        concurrency: {limit: 1}
        steps: [{name: a, image: x, commands: [sleep 1]}]
        """)
    lab.git("tag", "exp-1")
    lab.git("tag", "exp-2")
    lab.git("push", "origin", "exp-1", "exp-2")
    first, second = lab.build(1).pipelines[0], lab.build(2).pipelines[0]
    assert second.started >= first.finished and second.status == "success"
