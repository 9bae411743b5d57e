"""What pip is configured to do is what uv does."""
from __future__ import annotations

import os
import subprocess
from pathlib import Path

from hypothesis import given, strategies as st

from taglab.runner.environment import ensure_installer
from taglab.runner.pip_settings import read_pip_settings


def listed(tmp_path: Path, text: str, **variables: str) -> str:
    """Return what the real pip lists for a configuration file and variables."""
    (tmp_path / "pip.conf").write_text(text)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    python = ensure_installer(print) / "bin" / "python"
    done = subprocess.run([python, "-m", "pip", "config", "list"], text=True, check=True,
                          capture_output=True,
                          env={**clean, "HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path),
                               "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), **variables})
    return done.stdout


def test_indexes_certificates_and_proxies_carry_over(tmp_path: Path) -> None:
    text = """
[global]
index-url = https://packages.example/simple
extra-index-url = https://one.example
                  https://two.example
cert = /certificates.pem
timeout = 7
[install]
find-links = /wheels
no-binary = a,b
[list]
format = columns
"""
    settings = read_pip_settings(listed(
        tmp_path, text, PIP_INDEX_URL="https://closer.example/simple", PIP_NO_INDEX="false",
        PIP_PROXY="http://proxy.example:3128", PIP_PRE="1"))
    assert set(settings.options) == {"--no-binary=a", "--no-binary=b", "--prerelease=allow"}
    assert settings.variables == {
        "UV_DEFAULT_INDEX": "https://closer.example/simple", "UV_FIND_LINKS": "/wheels",
        "UV_EXTRA_INDEX_URL": "https://one.example https://two.example",
        "SSL_CERT_FILE": "/certificates.pem", "UV_HTTP_TIMEOUT": "7",
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://proxy.example:3128")}
    assert settings.unknown == ()


def test_a_setting_that_uv_does_not_have_is_named(tmp_path: Path) -> None:
    settings = read_pip_settings(listed(tmp_path, "[global]\nuse-feature = fast-deps\n"))
    assert settings.unknown == ("use-feature",) and settings.options == ()


@given(st.dictionaries(st.sampled_from(["global", "install", ":env:"]), st.text(), min_size=1))
def test_the_nearest_index_wins_whatever_it_is_called(urls: dict[str, str]) -> None:
    settings = read_pip_settings("\n".join(f"{section}.index-url={url!r}"
                                           for section, url in urls.items()))
    nearest = next(urls[section] for section in (":env:", "install", "global") if section in urls)
    assert settings.variables == {"UV_DEFAULT_INDEX": " ".join(nearest.split())}
