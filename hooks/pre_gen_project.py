"""Refuses wrong answers, and a template without its library, before anything is written."""
from __future__ import annotations

import json
import re
import sys
import unicodedata

# Answers arrive as data, never as source code: tojson escapes quotes and non-ASCII characters.
ANSWERS = r'''{{ cookiecutter | tojson }}'''
LIBRARY_FOUND = r'''{{ library_found() | tojson }}'''

SLUG = re.compile(r"[a-z0-9](-*[a-z0-9])*")
SLUG_RULE = ("a DNS-1123 label: 3 to 40 characters of a-z, 0-9 and `-`, "
             "with a letter or digit at both ends")
URL = re.compile(r"https?://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d+)?(/[\w.~%/-]*)?",
                 re.ASCII | re.IGNORECASE)
URL_RULE = "an address such as http://host:port or https://host/path, without a password"
_WORD = r"[a-z0-9]+((\.|__?|-+)[a-z0-9]+)*"
IMAGE = re.compile(rf"(?=.*[a-z])({_WORD}(:\d+)?/)?{_WORD}(/{_WORD})*"
                   r"(:\w[\w.-]*)?(@sha256:[0-9a-f]+)?", re.ASCII)
IMAGE_RULE = ("the name of a container image in lower case, "
              "with a registry before it and a tag after it if you like")
TEXTS = ("project_name", "description", "author_name")
JINJA = re.compile(r"\{(?=[%#{])")
NO_LIBRARY = (
    "Nothing was written: vendor/taglab is a symbolic link in the template, and this copy of the "
    "template has lost it, as a downloaded zip file does; clone the template's repository with "
    "`git clone -c core.symlinks=true`, and give that folder to cookiecutter.")


def slug_problem(slug: str) -> str | None:
    """Return a message about the lab's short name; None if it is right."""
    if SLUG.fullmatch(slug) and 3 <= len(slug) <= 40:
        return None
    return problem("project_slug", SLUG_RULE, slug, suggested_slug(slug))


def suggested_slug(answer: str) -> str:
    """Return a valid slug close to the answer; `my-lab` if no character of it can be used."""
    ascii_text = unicodedata.normalize("NFKD", answer).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_text.lower()).strip("-")[:40].rstrip("-")
    if not slug:
        return "my-lab"
    return slug if len(slug) >= 3 else f"{slug}-lab"


def text_problem(name: str, text: str) -> str | None:
    """Return a message about free text; None if it can be shown as it was typed."""
    jinja = JINJA.search(text)
    if jinja:
        mark = text[jinja.start():jinja.end() + 1]
        return problem(name, f"any text without {mark} (the template would read it as code)",
                       text, JINJA.sub("{ ", text))
    control = [c for c in text if c not in "\n\t" and unicodedata.category(c) in ("Cc", "Cs")]
    if control:
        return problem(name, f"any text without control characters such as {control[0]!a}",
                       text, "".join(c for c in text if c not in control))
    if name == "project_name" and not text.strip():
        return problem(name, "at least one visible character", text, "My Lab")
    return None


def pattern_problem(name: str, rule: str, pattern: re.Pattern[str], answer: str,
                    example: str) -> str | None:
    """Return a message about an answer that does not match the pattern; None if it does."""
    return None if pattern.fullmatch(answer) else problem(name, rule, answer, example)


def problem(name: str, rule: str, answer: str, suggestion: str) -> str:
    """Return a message: the rule, the answer, and what to type instead."""
    return (f"{name}: {rule}\n"
            f"  your answer:  {shortened(answer)}\n"
            f"  type instead: {shortened(suggestion)}")


def shortened(text: str) -> str:
    """Return the text as a Python literal of at most 70 characters."""
    literal = repr(text)
    return literal if len(literal) <= 70 else f"{literal[:66]}...{literal[-1]}"


def problems(answers: dict[str, str]) -> list[str]:
    """Return a message about each answer that is refused."""
    slug = answers["__slug_answer"]
    found = [slug_problem(slug), *(text_problem(name, answers[name]) for name in TEXTS)]
    for name, example in (("mlflow_tracking_uri", "http://mlflow-server:5000"),
                          ("s3_endpoint", "http://s3:9000")):
        found.append(pattern_problem(name, URL_RULE, URL, answers[name], example))
    if not found[0]:  # the default image is made from the slug
        found.append(pattern_problem("runner_image", IMAGE_RULE, IMAGE, answers["runner_image"],
                                     f"{slug}-runner"))
    return [text for text in found if text]


def main() -> int:
    """Print what is wrong and return the exit status."""
    if not json.loads(LIBRARY_FOUND):
        print(NO_LIBRARY, file=sys.stderr)
        return 1
    answers = json.loads(ANSWERS)
    found = [f"{name}: it is empty in the configuration file; write '' or remove the line"
             for name, answer in answers.items() if answer is None and name[0] != "_"]
    found = found or problems(answers)
    if found:
        print("Nothing was written. Please correct:", *found, sep="\n\n", end="\n\n",
              file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
