"""YAML as people expect it: 7e-3 is a number, `no` is a word, and a key that stands twice is an error."""

from __future__ import annotations

import re
from typing import Any

import yaml

from defectctl.errors import InputError


class _Loader(yaml.SafeLoader):
    """Safe loader with the scalars of YAML 1.2 (PyYAML reads 1.1: `7e-3` is text there and `no` is false)."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012 - the name PyYAML looks for

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool | None):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key}' stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _number(loader: _Loader, node: Any) -> int | float:
    text = loader.construct_scalar(node)
    if re.fullmatch(r"[-+]?\d+", text):
        return int(text)
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


_NUMBER = r"^[-+]?(?:\d+|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|\.(?:inf|Inf|INF))$|^\.(?:nan|NaN|NAN)$"
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(_NUMBER), list("-+0123456789."))
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:[tT]rue|TRUE|[fF]alse|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_constructor("tag:yaml.org,2002:float", _number)


def parse_yaml(text: str, what: str) -> Any:
    """Parse one YAML document.

    Args:
        what: names the text in the error.

    Raises:
        InputError: not valid YAML, a key twice, or a tag that would build an object.
    """
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark else ""
        raise InputError(f"{what} is not valid YAML{place}: {getattr(error, 'problem', None) or error}") from error
    except ValueError as error:
        raise InputError(f"{what} is not valid YAML: {error}") from error
