import pytest

from taglab.config import ConfigError, flatten, load_config, override

DEFAULTS = {
    "seed": 1, "rate": 0.5, "shuffle": True, "name": "wine", "sizes": [1, 2], "gamma": [0.1],
    "model": {"depth": 3, "kind": {"tree": "oak"}},
}


@pytest.mark.parametrize("word, key, value", [
    ("seed=7", "seed", 7),
    ("seed=-7", "seed", -7),
    ("rate=1", "rate", 1.0),
    ("rate=1e-3", "rate", 0.001),
    ("shuffle=false", "shuffle", False),
    ("name=a=b c", "name", "a=b c"),
    ("name=", "name", ""),
    ("sizes=[]", "sizes", []),
    ("sizes=[3]", "sizes", [3]),
    ("gamma=[1, 0.5]", "gamma", [1.0, 0.5]),
    ("model.depth=9", "model.depth", 9),
    ("model.kind.tree=elm", "model.kind.tree", "elm"),
])
def test_an_override_changes_its_key_and_nothing_else(word, key, value):
    changed = flatten(override(DEFAULTS, [word]))
    assert changed[key] == value and type(changed[key]) is type(value)
    assert {**changed, key: None} == {**flatten(DEFAULTS), key: None}


@pytest.mark.parametrize("word", [
    "seed=1.5", "seed=true", "seed=", "rate=fast", "shuffle=1", "sizes=3", "sizes=[1.5]",
    "sizes=[true]", "gamma=['a']", "gamma=[0.1", "sizes=[1]\nother = 2",
])
def test_a_value_of_the_wrong_type_is_refused(word):
    with pytest.raises(ConfigError, match=f"{word.partition('=')[0]} needs a value of type"):
        override(DEFAULTS, [word])


@pytest.mark.parametrize("word, message", [
    ("sead=1", "did you mean seed"),
    ("model.dept=1", "did you mean model.depth"),
    ("model=1", "set one of its keys: model.depth"),
    ("zzz=1", "unknown key 'zzz'$"),
    ("=1", "unknown key ''$"),
    ("seed", "not of the form key=value"),
])
def test_an_unknown_key_is_refused_and_the_nearest_suggested(word, message):
    with pytest.raises(ConfigError, match=message):
        override(DEFAULTS, [word])


def test_the_last_override_wins_and_the_defaults_are_not_changed():
    assert override(DEFAULTS, ["seed=2", "seed=3"])["seed"] == 3
    assert DEFAULTS["seed"] == 1


def test_a_mistake_ends_the_process_with_status_3_and_the_known_keys(tmp_path, capsys):
    (tmp_path / "config.toml").write_text("seed = 1\n[model]\nrates = [0.1]\n")
    assert load_config(tmp_path / "main.py", ["seed=4"]) == {"seed": 4, "model": {"rates": [0.1]}}
    with pytest.raises(SystemExit) as end:
        load_config(tmp_path / "main.py", ["sed=4"])
    assert end.value.code == 3
    errors = capsys.readouterr().err.splitlines()
    assert errors[0] == "error: unknown key 'sed'; did you mean seed?"
    assert [line.split() for line in errors[2:]] == [
        ["seed", "int", "1"], ["model.rates", "list", "of", "float", "[0.1]"]]


@pytest.mark.parametrize("text", [None, "seed = ", "seed = 1\nseed = 2"])
def test_a_broken_or_missing_file_is_an_error_of_one_line(tmp_path, capsys, text):
    if text is not None:
        (tmp_path / "config.toml").write_text(text)
    with pytest.raises(SystemExit) as end:
        load_config(tmp_path / "main.py", [])
    assert end.value.code == 3
    assert len(capsys.readouterr().err.splitlines()) == 1
