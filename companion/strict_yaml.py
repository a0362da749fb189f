"""YAML read strictly: a ValueError names the file, the line and what is allowed. Nothing is converted or ignored."""

import functools
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, TypeAdapter, ValidationError

from fcl.config import closest

MAPPING = TypeAdapter(dict[str, Any])


class Schema(BaseModel):
    """What a mapping in a file may hold: its fields and nothing else, each of exactly its type."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @classmethod
    def keys(cls) -> set[str]:
        """All keys of this schema and of those derived from it."""
        return set(cls.model_fields).union(*(schema.keys() for schema in cls.__subclasses__()))


def one_or_more(kind: Any) -> Any:
    """The type of a key with one value or a list of them."""
    return Annotated[list[kind], BeforeValidator(lambda value: value if isinstance(value, list) else [value])]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # the first is ten times as fast
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [key.value for key, _ in node.value]
        for number, (key, _) in enumerate(node.value):
            if key.value in keys[:number]:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is there twice", key.start_mark)
        return super().construct_mapping(node, deep)


@functools.lru_cache
def parse_yaml(text: str, name: str = "the text", schema: TypeAdapter = MAPPING) -> dict[str, Any]:
    """What a text in YAML says, an empty one nothing. Kept, since parsing is slow: not to be changed.

    name: of the file, for messages. Raises ValueError for what is no YAML, has a key twice, or doesn't fit the schema.
    """
    try:
        loader = _Loader(text)
        tree = loader.get_single_node()
        content = {} if tree is None else loader.construct_document(tree)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date that is none
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        raise ValueError(f"{name}{f', line {mark.line + 1}' if mark else ''}: {problem or error}") from None
    try:
        schema.validate_python(content)
    except ValidationError as error:
        raise ValueError("\n".join(_problem(name, tree, **problem) for problem in error.errors())) from None
    return content


def _problem(name: str, tree: yaml.Node, loc: tuple, type: str, msg: str, input: Any, **_: Any) -> str:
    """One problem that pydantic reports, as a line of text: where it is and what is allowed."""
    line, place = 1, ""
    for step in loc:
        if isinstance(tree, yaml.SequenceNode):
            steps = {number: (value, value) for number, value in enumerate(tree.value)}
        else:  # a scalar, in place of a list or of a mapping, has none
            steps = {key.value: (key, value) for key, value in tree.value} if isinstance(tree, yaml.MappingNode) else {}
        if step in steps:
            key, tree = steps[step]
            line, place = key.start_mark.line + 1, f"{place}{step}: "
    if type == "missing":
        problem = f"{loc[-1]} is missing"
    elif type == "extra_forbidden":
        problem = f"there is no such key.{closest(loc[-1], Schema.keys())}"
    elif type == "value_error":
        problem = msg.removeprefix("Value error, ")
    else:
        problem = f"{msg.replace('Input should be', 'must be')}, not {input!r}"
    return f"{name}, line {line}: {place}{problem}"
