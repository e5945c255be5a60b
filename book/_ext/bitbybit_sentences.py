"""Sentences under the same control as numbers: found in a chapter's source, evaluated where it runs.

Two roles stand in the prose of a chapter:

    {val}`expression` or {val}`expression:format`   a value, written by the code
    {check}`expression`                             after a sentence: what makes it true

Both are evaluated once, after the last cell of the chapter, so a name means the same thing in
prose and code from the first page to the last.  This module is imported by kernels, by the Sphinx
extension and by tests; it needs nothing but Python.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

MIME = "application/vnd.bitbybit.sentences+json"
ROLES = ("val", "check")
LONGEST_VALUE = 80

NOT_PROSE = tuple(
    re.compile(pattern, re.MULTILINE | re.DOTALL)
    for pattern in (
        r"\A---\n.*?^---\n",
        r"^\([\w-]+\)=$",
        r"^:[\w-]+:[^\n]*$",
        r"^#+ [^\n]*$",
        r"^\|[^\n]*\|$",
        r"\$\$.*?\$\$",
    )
)
"""What is no sentence, beside fenced code: labels, options, headings, tables, equations."""

FENCE = re.compile(r"(`{3,})(?:\{([\w-]+)\})?(.*)")
CONTAINERS = ("admonition", "dropdown", "note", "tip")
"""Directives whose content is prose."""

ROLE = re.compile(r"\{(?P<role>[\w:]+)\}`(?P<body>[^`]*)`", re.DOTALL)
SPAN = re.compile(r"`[^`]*`|\$[^$]+\$", re.DOTALL)
ITEM = re.compile(r"^\s*(?:[-*:]|\d+\.)\s+", re.MULTILINE)
END = re.compile(r"(?<=[.?!])[)”*_]*(?:\s+)(?=[^\s])")


@dataclass(frozen=True)
class Claim:
    """One role in the source: its kind, its expression and its line."""

    kind: str
    source: str
    line: int


@dataclass(frozen=True)
class Sentence:
    """One sentence of a chapter's prose.

    Attributes
    ----------
    line : where it begins, from 1
    text : its source on one line, without the checks
    claims : the values in it and the checks behind it, in order
    """

    line: int
    text: str
    claims: tuple[Claim, ...] = field(default=())

    @property
    def checks(self) -> tuple[Claim, ...]:
        """The expressions that make it true."""
        return tuple(claim for claim in self.claims if claim.kind == "check")


def sentences(text: str) -> list[Sentence]:
    """Return the sentences of a chapter's source, in order."""
    text = _without_code(text)
    for pattern in NOT_PROSE:
        text = pattern.sub(_blank, text)
    found = []
    for begin, end in _blocks(text):
        hidden = SPAN.sub(lambda match: "x" * len(match[0]), text[begin:end])
        hidden = re.sub(r"\{check\}(x+)", lambda match: "c" * len(match[0]), hidden)
        cuts = [0]
        for match in END.finditer(hidden):
            if not re.match(r"c{8,}", hidden[match.end() :]) and match.end() < len(hidden):
                cuts.append(match.end())
        for match in re.finditer(r"c{8,}\s*(?=[^\sc])", hidden):  # a check ends its sentence
            cuts.append(match.end())
        bounds = sorted({*cuts, len(hidden)})
        for start, stop in zip(bounds, bounds[1:], strict=False):
            sentence = _sentence(text, begin + start, begin + stop)
            if sentence is not None:
                found.append(sentence)
    return found


def _without_code(text: str) -> str:
    """Blank all fenced blocks, except the content of containers."""
    kept, code, open_containers = [], "", []
    for line in text.split("\n"):
        fence = FENCE.fullmatch(line)
        if code:
            kept.append("")
            code = "" if line.rstrip() == code else code
        elif fence is None:
            kept.append(line)
        else:
            kept.append("")
            if fence[2] in CONTAINERS:
                open_containers.append(fence[1])
            elif open_containers and line.rstrip() == open_containers[-1]:
                open_containers.pop()
            else:
                code = fence[1]
    return "\n".join(kept)


def _blocks(text: str) -> list[tuple[int, int]]:
    """Return begin and end of each paragraph and list item."""
    starts = {0, len(text)}
    starts |= {match.end() for match in re.finditer(r"\n\s*\n", text)}
    starts |= {match.start() for match in ITEM.finditer(text)}
    bounds = sorted(starts)
    return list(zip(bounds, bounds[1:], strict=False))


def _sentence(text: str, begin: int, end: int) -> Sentence | None:
    part = text[begin:end]
    begin += len(part) - len(part.lstrip())
    claims = tuple(
        Claim(
            match["role"],
            " ".join(match["body"].split()),
            text.count("\n", 0, begin + match.start()) + 1,
        )
        for match in ROLE.finditer(text[begin:end])
        if match["role"] in ROLES
    )
    shown = ROLE.sub(lambda m: "" if m["role"] == "check" else m[0], text[begin:end])
    shown = " ".join(ITEM.sub("", shown, count=1).split())
    if not claims and not re.search(r"[A-Za-z]", shown):
        return None
    return Sentence(text.count("\n", 0, begin) + 1, shown, claims)


def _blank(match: re.Match[str]) -> str:
    """Keep the line numbers of what follows."""
    return re.sub(r"[^\n]", " ", match[0])


def claims(text: str) -> list[Claim]:
    """Return the claims of a chapter, each expression once."""
    unique = {
        (claim.kind, claim.source): claim for s in sentences(text) for claim in reversed(s.claims)
    }
    return list(unique.values())


# --- where the chapter runs -----------------------------------------------------------------


def evaluate(
    namespace: Mapping[str, Any], wanted: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    """Evaluate values and checks in a chapter's names.

    Parameters
    ----------
    namespace
        The names of the chapter after its last cell.
    wanted
        Kind (``val`` or ``check``) and source of each.

    Returns
    -------
    For each a record of plain values: ``kind``, ``source``, ``text`` (a value as it is written),
    ``true`` (of a check), ``parts`` (expression and value of what is compared), ``error``.
    """
    names = {**WORDS, **namespace}
    return [_evaluated(kind, source, names) for kind, source in wanted]


def _evaluated(kind: str, source: str, names: dict[str, Any]) -> dict[str, Any]:
    record: dict[str, Any] = {"kind": kind, "source": source, "parts": [], "error": ""}
    try:
        if kind == "val":
            record["text"] = _value(source, names)
            return record
        tree = ast.parse(source, mode="eval")
        result = eval(compile(tree, "<check>", "eval"), names)  # noqa: S307 - our own chapter
        if getattr(result, "shape", ()) != ():
            raise TypeError(f"a check must be true or false, this is an array {result.shape}")
        record["true"] = bool(result)
        record["parts"] = [(ast.unparse(part), shortly(_run(part, names))) for part in parts(tree)]
    except Exception as error:
        record["error"] = f"{type(error).__name__}: {error}"
    return record


def _value(source: str, names: dict[str, Any]) -> str:
    """Format ``expression`` or ``expression:format``, as an f-string would."""
    ((field_,),) = [ast.parse("f'''{" + source + "}'''", mode="eval").body.values]  # type: ignore
    value = _run(field_.value, names)
    if field_.format_spec is None and field_.conversion == -1:
        return written(value)
    return str(eval("f'''{" + source + "}'''", names)).replace("-", "−")  # noqa: S307


def _run(node: ast.expr, names: dict[str, Any]) -> Any:
    code = compile(ast.fix_missing_locations(ast.Expression(node)), "<sentence>", "eval")
    return eval(code, names)  # noqa: S307 - our own chapter


def parts(tree: ast.Expression) -> list[ast.expr]:
    """Return what a check compares: the operands that are not constants, each once."""
    found: dict[str, ast.expr] = {}

    def visit(node: ast.expr) -> None:
        if isinstance(node, ast.BoolOp):
            for value in node.values:
                visit(value)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            visit(node.operand)
        elif isinstance(node, ast.Compare):
            for value in (node.left, *node.comparators):
                visit(value)
        elif node is not tree.body and not _is_literal(node):
            found.setdefault(ast.unparse(node), node)

    visit(tree.body)
    return list(found.values())


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError):
        return False
    return True


def written(value: Any) -> str:
    """Return a value as prose writes it: integers grouped, a wide minus."""
    if isinstance(value, str):
        return value
    if hasattr(value, "item") and value.shape == ():
        value = value.item()
    if isinstance(value, Integral) and not isinstance(value, bool):
        return f"{int(value):,}".replace("-", "−")
    return str(value).replace("-", "−")


def shortly(value: Any) -> str:
    """Return a value for the reader of a check, in at most one line."""
    if isinstance(value, type):
        return value.__name__
    if hasattr(value, "item") and value.shape == ():
        value = value.item()
    elif getattr(value, "size", 0) > 8:
        return f"{value.dtype} array of shape {list(value.shape)}"
    elif hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"


# --- words that depend on data --------------------------------------------------------------

NUMBERS = (
    "no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve",
)  # fmt: skip


def spelled(count: int) -> str:
    """Return a small count as a word (``no`` for 0), a larger one in digits."""
    return NUMBERS[count] if 0 <= count < len(NUMBERS) else written(count)


def listed(names: Sequence[object]) -> str:
    """Return names as code, with commas and an ``and``."""
    *most, last = [f"`{name}`" for name in names]
    return f"{', '.join(most)} and {last}" if most else last


def code(name: object) -> str:
    """Return a name as code."""
    return f"`{name}`"


WORDS: dict[str, Callable[..., str]] = {"spelled": spelled, "listed": listed, "code": code}
"""Known to every expression, unless the chapter gives the name another meaning."""


# --- what states a fact ---------------------------------------------------------------------

FACT = re.compile(
    r"(?<![A-Za-z])\d|\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|sixteen"
    r"|thirty|forty"
    r"|hundreds?|thousands?|millions?|half|halves|halved|twice|doubled?|quarters?|thirds?|tenths?"
    r"|not|all|none|never|always|only|every|everything|each|no|nothing|nobody|neither|both"
    r"|equal\w*|exact\w*|same|identical\w*|differ\w*|wrong|cannot|unchanged"
    r"|most|least|best|worst|(?!test|rest|interest|request)[a-z]{3,}est"
    r"|first|last|more|less|fewer|larger|smaller|higher|lower|upper|better|worse|longer|shorter"
    r"|faster|slower|finer|coarser|wider|narrower|cheaper|closer|nearer|farther|above|below)\b",
    re.IGNORECASE,
)
"""Numerals, number words, superlatives, comparatives, and words about all, none and not."""

SHOWN_ELSEWHERE = re.compile(r"\{[\w:]+\}`[^`]*`|`[^`]*`|\$[^$]*\$|\]\([^)]*\)", re.DOTALL)


def states_fact(sentence: Sentence) -> bool:
    """Whether a sentence has a word that could be false, beside values, code and formulas."""
    if sentence.text.endswith("?"):
        return False
    return FACT.search(SHOWN_ELSEWHERE.sub(" ", sentence.text)) is not None


def unsupported(text: str, checked: Sequence[str], allowed: Mapping[str, str]) -> list[Sentence]:
    """Return the sentences of a chapter that nothing holds.

    Parameters
    ----------
    text
        The chapter's source.
    checked
        Sentences that were read together with their checks.  A checked sentence that is not
        among them was changed, or is new: does the check still say what it says?
    allowed
        Sentence → why it stands without a check: a definition, a derivation, advice.
    """
    return [
        sentence
        for sentence in sentences(text)
        if (sentence.text not in checked if sentence.checks else _is_bare(sentence, allowed))
    ]


def _is_bare(sentence: Sentence, allowed: Mapping[str, str]) -> bool:
    cited = "{cite}" in sentence.text
    return not cited and states_fact(sentence) and not allowed.get(sentence.text)


# --- what a check must speak of -------------------------------------------------------------

NUMBER_WORDS = {
    **{word: float(value) for value, word in enumerate(NUMBERS) if value > 1},
    "sixteen": 16.0, "thirty": 30.0, "forty": 40.0, "half": 0.5, "halved": 2.0, "twice": 2.0,
    "doubled": 2.0, "hundred": 100.0, "thousands": 1000.0,
    "tenth": 0.1, "twentieth": 0.05,
}  # fmt: skip
TIMES = {"hundred": 100.0, "thousand": 1e3, "million": 1e6}
TOKEN = re.compile(
    r"(?<![\w.-])(?:\d[\d,]*\d(?:\.\d+)?|\d(?:\.\d+)?|[A-Za-z]+(?:-[A-Za-z]+)*)(?![\w-])"
)
STAGE = re.compile(r"\bstage \d", re.IGNORECASE)
LAYER = re.compile(r"(?<!\})`(stack\d(?:\.\w+)?|stem|pool|dense|flatten)`")
DIRECTIONS = (
    (r"largest|highest|widest|greatest|longest|strongest", r"max|\[-1\]"),
    (r"smallest|lowest|fewest|shortest|weakest|narrowest", r"min"),
    (r"(?<!at )most", r"max|\[0\]|> 0\.5"),
    (r"(?<!at )least", r"min|< 0\.5"),
    (r"more|larger|higher|greater|longer|wider|above", r">|max|!=|above"),
    (r"less|fewer|smaller|shorter|narrower|below", r"<|min|below"),
    (r"none|never|nothing|neither|nobody", r"not |!=|\b0\b|\[\]|<|>"),
    (r"all|every|always", r"all\(|==|<=|>=|min\(|max\(|not .*any\("),
    (r"upper", r"qmax|upper|above|high"),
    (r"lower", r"qmin|lower|below|low"),
)
"""Words of extremes and directions, and what an expression that speaks of them has in it."""


def unheld(sentence: Sentence) -> list[str]:
    """Return the words of a checked sentence that its checks say nothing about.

    A number, a layer, an extreme or a direction that the code did not insert must stand in the
    check too: otherwise the sentence could be turned round, and the check would still hold.
    """
    source = " ".join(claim.source for claim in sentence.claims)
    checked = " ".join(claim.source for claim in sentence.checks)
    prose = STAGE.sub(" ", SHOWN_ELSEWHERE.sub(" ", sentence.text))
    held = _numbers_of(sentence.checks)
    found = [
        word for word, value in _numbers_in(prose) if value not in held and word not in checked
    ]
    found += [name for name in LAYER.findall(sentence.text) if name not in source]
    for words, wanted in DIRECTIONS:
        spoken = re.search(rf"\b(?:{words})\b", prose, re.IGNORECASE)
        if spoken and not re.search(wanted, source):
            found.append(spoken[0])
    return found


def _numbers_in(prose: str) -> list[tuple[str, float]]:
    """Return the numbers of a text with their values, but for 0 and 1, which are also names."""
    tokens = TOKEN.findall(prose)
    found = []
    for token, after in zip(tokens, [*tokens[1:], ""], strict=True):
        value = _number(token)
        if value not in (0, 1):
            found.append((token, value * TIMES.get(after, 1.0)))
    return found


def _number(token: str) -> float:
    """Return what a numeral or a number word says, 0 for any other word."""
    if token[0].isdigit():
        return float(token.replace(",", ""))
    tens, _, units = token.lower().partition("-")
    if not units:
        return NUMBER_WORDS.get(tens, 0.0)
    is_number = tens in ("thirty", "forty") and units in NUMBERS
    return NUMBER_WORDS[tens] + NUMBERS.index(units) if is_number else 0.0


def _numbers_of(checks: Sequence[Claim]) -> set[float]:
    """Return the numbers of some checks: their constants, and how long their lists and sets are."""
    nodes = [node for check in checks for node in ast.walk(ast.parse(check.source, mode="eval"))]
    numbers = {
        float(node.value)
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float))
    }
    return numbers | {
        float(len(node.elts)) for node in nodes if isinstance(node, (ast.List, ast.Set))
    }


def filled(sentence: str, texts: Mapping[str, str]) -> str:
    """Return a sentence as the reader sees it: values for their roles, targets for the others."""

    def shown(match: re.Match[str]) -> str:
        source = " ".join(match["body"].split())
        if match["role"] == "val":
            return texts.get(source, source)
        return "" if match["role"] == "check" else source.partition(" <")[0]

    return " ".join(ROLE.sub(shown, sentence).split())


def count(written_here: Sequence[Sentence]) -> str:
    """Return the last words of a chapter: how much of it is under control."""
    checked = sum(bool(sentence.checks) for sentence in written_here)
    values = sum(claim.kind == "val" for sentence in written_here for claim in sentence.claims)
    return (
        f"{checked} {'sentence' if checked == 1 else 'sentences'} on this page "
        f"{'was' if checked == 1 else 'were'} checked, and {values} "
        f"{'value was' if values == 1 else 'values were'} inserted by code."
    )


def complaint(sentence: str, check: Mapping[str, Any], texts: Mapping[str, str]) -> str:
    """Return what to say of a check that is false or cannot be evaluated, in one sentence."""
    about = f"“{filled(sentence, texts)}”"
    if check["error"]:
        return f"cannot be checked: {about}: `{check['source']}` raises {check['error']}"
    values = "; ".join(f"{name} is {value}" for name, value in check["parts"])
    return f"false: {about}: `{check['source']}` does not hold: {values or 'a constant'}"


# --- one name, one meaning ------------------------------------------------------------------


def ambiguous(text: str, cells: Sequence[str]) -> dict[str, int]:
    """Return the names that the prose uses and more than one cell binds, with how many do.

    Values are those of the end of the chapter, so such a name would mean one thing in the cell
    that the reader sees and another in the sentence below it.

    Parameters
    ----------
    text
        The chapter's source.
    cells
        The sources of its code cells.
    """
    bound: dict[str, int] = {}
    for cell in cells:
        for name in {name for node in ast.walk(ast.parse(cell)) for name in _binds(node)}:
            bound[name] = bound.get(name, 0) + 1
    used = {name for claim in claims(text) for name in _uses(claim)}
    return {name: bound[name] for name in sorted(used) if bound.get(name, 0) > 1}


def _uses(claim: Claim) -> set[str]:
    """Return the names of the chapter in an expression; a comprehension's are its own."""
    source = claim.source if claim.kind == "check" else "f'''{" + claim.source + "}'''"
    names = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)]
    own = {name.id for name in names if isinstance(name.ctx, ast.Store)}
    return {name.id for name in names} - own


def _binds(node: ast.AST) -> list[str]:
    """Return the names that a node binds in the chapter; a comprehension's are its own."""
    if isinstance(node, (ast.Assign, ast.For)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return [
            name.id
            for target in targets
            for name in ast.walk(target)
            if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
        ]
    return []
