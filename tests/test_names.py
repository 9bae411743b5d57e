import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import _validate_length_limit, _validate_param_name

from taglab.config import load_config
from taglab.names import LONGEST, accepted_name, is_accepted, refusal

TEXTS = st.text(st.sampled_from("aÄ1_-./: =()\ud800\n"), max_size=8) | st.text()


def mlflow_accepts(name):
    try:
        _validate_param_name(name)
        _validate_length_limit("key", LONGEST, name)
    except MlflowException:
        return False
    return True


@given(TEXTS)
def test_names_are_accepted_that_mlflow_accepts(name):
    assert is_accepted(name) == mlflow_accepts(name) or name.endswith("\n")


@given(TEXTS | st.integers(240, 260).map("a".__mul__))
def test_a_refused_name_comes_with_one_that_mlflow_accepts(name):
    assert mlflow_accepts(accepted_name(name))
    assert bool(refusal(name)) != is_accepted(name)


@pytest.mark.parametrize("key, better", [("lr (max)", "lr_max"), ("a=b", "a_b"), ("a//b", "a_b"),
                                         ("x" * 251, "x" * 80)])
def test_a_key_that_mlflow_refuses_is_refused_with_its_file(tmp_path, capsys, key, better):
    (tmp_path / "config.toml").write_text(f'[model]\ndepth = 1\n["{key}"]\nb = 2\n'
                                          if key == "a=b" else f'"{key}" = 1\n')
    with pytest.raises(SystemExit) as end:
        load_config(tmp_path / "main.py", [])
    assert end.value.code == 3
    said = capsys.readouterr().err
    assert f"error: {tmp_path / 'config.toml'}: " in said and f"use '{better}" in said
