"""What an error of a tracking server, or of a proxy before it, means for a result.

This module uses what MLflow does not document, checked with MLflow 3.17.2: every request to a
server passes through `_get_http_response_with_retries` of `mlflow.utils.rest_utils`.
"""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import taglab.tracking.quick_mlflow  # noqa: F401, before mlflow
from mlflow.exceptions import HTTP_STATUS_TO_ERROR_CODE, MlflowException, RestException
from mlflow.utils import rest_utils
from requests import RequestException

LOGIN = ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED")
MISSING = "RESOURCE_DOES_NOT_EXIST"
# With these MLflow refuses what it was asked, which is no better later. A 4xx without one of them
# comes from a proxy, a login or the database.
REFUSALS = ("INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS", MISSING)
_LOGIN_IN = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or in MLFLOW_TRACKING_TOKEN"


def error_code(error: Exception) -> str:
    """Return MLflow's code for an error of a call or an upload, or "" where it has none."""
    if isinstance(error, MlflowException):
        return str(error.error_code)
    response: Any = getattr(error, "response", None)  # of an error of requests
    try:
        return str(response.json()["error_code"])
    except Exception:  # no answer, or none of MLflow's
        return str(HTTP_STATUS_TO_ERROR_CODE.get(getattr(response, "status_code", 0), ""))


def is_away(error: Exception) -> bool:
    """Return whether the same may succeed later: MLflow has not refused it for what it is."""
    return error_code(error) not in REFUSALS


def refuses_login(error: Exception) -> bool:
    """Return whether a server, or a proxy, lets this user not do it (401 or 403)."""
    return error_code(error) in LOGIN


def reason(error: Exception) -> str:
    """Return in a few words why a server took something not."""
    if refuses_login(error):
        return f"{error_code(error)}: it does not accept the login in {_LOGIN_IN}"
    if isinstance(error.__context__, RequestException):
        return type(error.__context__).__name__
    shown = str(error.__context__ or error).partition(". Response ")[0]
    return " ".join(shown.split())[:200]


def unusable(uri: str, error: MlflowException) -> str:
    """Return the sentence that says why nothing can start with a server, and what to do."""
    if refuses_login(error):
        return (f"error: the MLflow server at {uri} refuses you ({error_code(error)}). Put your "
                f"login in {_LOGIN_IN}, or have its owner give you access")
    if error.__context__:
        return (f"error: no MLflow server answers at {uri} ({error.__context__}). Start it, or "
                "name another one in MLFLOW_TRACKING_URI")
    if isinstance(error, RestException) and "error_code" in error.json:
        return f"error: the MLflow server at {uri} cannot be used: {reason(error)}"
    return (f"error: {uri} is not the address of an MLflow server: {reason(error)}. Correct "
            "MLFLOW_TRACKING_URI, or a proxy before the server")


@contextlib.contextmanager
def checked_answers(uri: str) -> Iterator[None]:
    """Raise for an answer to a write or an upload that cannot be MLflow's.

    A proxy may answer 200 with a page of its own; MLflow looks at no answer to an upload.
    """
    requests: Any = rest_utils
    original = requests._get_http_response_with_retries
    place = f"{uri.rstrip('/')}/api/"

    def checked(method: str, url: str, *arguments: Any, **options: Any) -> Any:
        response = original(method, url, *arguments, **options)
        if method != "GET" and url.startswith(place) and response.status_code < 400:
            if not _is_mlflows(response.status_code, response.text, "/mlflow-artifacts/" in url):
                raise ValueError(f"{method} {url} has an answer of a proxy, not of MLflow")
        return response

    requests._get_http_response_with_retries = checked
    try:
        yield
    finally:
        requests._get_http_response_with_retries = original


def _is_mlflows(status: int, text: str, is_upload: bool) -> bool:
    """Return whether MLflow may have given an answer: a JSON object, or nothing to an upload."""
    if not text:
        return status == 204 or (status == 200 and is_upload)
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
