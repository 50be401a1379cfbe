"""Steps on one string and on a list of words; each is a problem of its own."""

from data.starter.steps import Step, Words


def _word(name: str, code: str, alone: Words, new_alone: str) -> Step:
    return Step(name, "word", "word", code, ("chars",), alone, (new_alone,))


def _words(name: str, code: str, alone: Words, new_alone: str) -> Step:
    return Step(name, "words", "words", code, ("length",), alone, (new_alone,))


PIECES = (
    _word(
        "first",
        "s[:{a}]",
        ("return the first {a} characters of the string", "take the first {a} letters of the word"),
        "return the first {a} letters of the word",
    ),
    _word(
        "last",
        "s[-{a}:]",
        ("return the last {a} characters of the string", "take the last {a} letters of the word"),
        "return the last {a} letters of the word",
    ),
    _word(
        "skip",
        "s[{a}:]",
        ("remove the first {a} characters of the string", "skip the first {a} letters of the word"),
        "remove the first {a} letters of the word",
    ),
    _word(
        "drop_end",
        "s[:-{a}]",
        ("remove the last {a} characters of the string", "skip the last {a} letters of the word"),
        "remove the last {a} letters of the word",
    ),
)
WORD_KEEPS = (
    _words(
        "longer",
        "[w for w in ws if len(w) > {a}]",
        ("keep the words in the list longer than {a}", "find the words of the list with more than {a} letters"),
        "keep the words of the list with more than {a} letters",
    ),
    _words(
        "shorter",
        "[w for w in ws if len(w) < {a}]",
        ("keep the words in the list shorter than {a}", "find the words of the list with less than {a} letters"),
        "keep the words of the list with less than {a} letters",
    ),
)
