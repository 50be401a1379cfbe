"""Steps on one string and on a list of words."""

from data.starter.steps import Step, Words


def _word(
    name: str, code: str, kinds: Words, alone: Words, new_alone: str, then: Words, new_then: str, gives: str = "word"
) -> Step:
    return Step(name, "word", gives, code, kinds, alone, (new_alone,), then, (new_then,))


def _words(name: str, code: str, kinds: Words, alone: Words, new_alone: str, then: Words, new_then: str) -> Step:
    return Step(name, "words", "words", code, kinds, alone, (new_alone,), then, (new_then,))


PIECES = (
    _word(
        "first",
        "s[:{a}]",
        ("chars",),
        ("return the first {a} characters of the string", "take the first {a} letters of the word"),
        "return the first {a} letters of the word",
        ("take the first {a} characters", "return the first {a} letters"),
        "take the first {a} letters",
    ),
    _word(
        "last",
        "s[-{a}:]",
        ("chars",),
        ("return the last {a} characters of the string", "take the last {a} letters of the word"),
        "return the last {a} letters of the word",
        ("take the last {a} characters", "return the last {a} letters"),
        "take the last {a} letters",
    ),
    _word(
        "skip",
        "s[{a}:]",
        ("chars",),
        ("remove the first {a} characters of the string", "skip the first {a} letters of the word"),
        "remove the first {a} letters of the word",
        ("remove the first {a} characters", "skip the first {a} letters"),
        "remove the first {a} letters",
    ),
    _word(
        "drop_end",
        "s[:-{a}]",
        ("chars",),
        ("remove the last {a} characters of the string", "skip the last {a} letters of the word"),
        "remove the last {a} letters of the word",
        ("remove the last {a} characters", "skip the last {a} letters"),
        "remove the last {a} letters",
    ),
)
JOINS = (
    _word(
        "append",
        "s + {a}",
        ("affix",),
        ("append {a} to the string", "put {a} at the end of the word"),
        "put {a} at the end of the string",
        ("append {a}", "put {a} at the end"),
        "append {a} at the end",
    ),
    _word(
        "prepend",
        "{a} + s",
        ("affix",),
        ("insert {a} at the start of the string", "put {a} in front of the word"),
        "put {a} in front of the string",
        ("insert {a} at the start", "put {a} in front"),
        "insert {a} in front",
    ),
    _word(
        "repeat",
        "s * {a}",
        ("count",),
        ("repeat the string {a} times", "repeat the word {a} times in a row"),
        "repeat the string {a} times in a row",
        ("repeat it {a} times", "repeat the result {a} times"),
        "repeat it {a} times in a row",
    ),
)
LETTERS = (
    _word(
        "replace",
        "s.replace({a}, {b})",
        ("letter", "letter"),
        ("replace every {a} in the string by {b}", "change all letters {a} of the word to {b}"),
        "change every {a} in the string to {b}",
        ("replace every {a} by {b}", "change every {a} to {b}"),
        "change all letters {a} to {b}",
    ),
    _word(
        "remove",
        "s.replace({a}, '')",
        ("letter",),
        ("remove every {a} from the string", "remove all letters {a} of the word"),
        "remove every {a} of the word",
        ("remove every {a}", "remove all letters {a}"),
        "remove each {a}",
    ),
)
CASES = (
    _word(
        "upper",
        "s.upper()",
        (),
        ("change the string to upper case", "write the word in upper case"),
        "write the string in upper case",
        ("change it to upper case", "write the result in upper case"),
        "write it in upper case",
    ),
    _word(
        "backwards",
        "s[::-1]",
        (),
        ("reverse the string", "reverse the letters of the word"),
        "reverse the characters of the string",
        ("reverse it", "reverse the result"),
        "reverse its letters",
    ),
)
QUESTIONS = (
    _word(
        "count",
        "s.count({a})",
        ("letter",),
        ("count how often {a} occurs in the string", "find the number of times {a} is in the word"),
        "count how often {a} is in the word",
        ("count how often {a} occurs", "find the number of times {a} occurs"),
        "count the times {a} occurs",
        "number",
    ),
    _word(
        "starts",
        "s.startswith({a})",
        ("letter",),
        ("check whether the string starts with {a}", "check whether {a} is the first letter of the word"),
        "check whether the word starts with {a}",
        ("check whether it starts with {a}", "check whether {a} is the first letter"),
        "check whether the result starts with {a}",
        "flag",
    ),
    _word(
        "ends",
        "s.endswith({a})",
        ("letter",),
        ("check whether the string ends with {a}", "check whether {a} is the last letter of the word"),
        "check whether the word ends with {a}",
        ("check whether it ends with {a}", "check whether {a} is the last letter"),
        "check whether the result ends with {a}",
        "flag",
    ),
)
LENGTH = (
    _word(
        "length",
        "len(s)",
        (),
        ("find the length of the string",),
        "return the length of the string",
        ("return its length", "find the length of it"),
        "find its length",
        "number",
    ),
)

WORD_CHANGES = (
    _words(
        "heads",
        "[w[:{a}] for w in ws]",
        ("count",),
        (
            "take the first {a} letters of every word in the list",
            "return the first {a} characters of all words in the list",
        ),
        "return the first {a} letters of all words in the list",
        ("take the first {a} letters of each", "cut each to {a} characters"),
        "take the first {a} characters of each",
    ),
    _words(
        "tails",
        "[w[-{a}:] for w in ws]",
        ("count",),
        (
            "take the last {a} letters of every word in the list",
            "return the last {a} characters of all words in the list",
        ),
        "return the last {a} letters of all words in the list",
        ("take the last {a} letters of each", "return the last {a} characters of each"),
        "take the last {a} characters of each",
    ),
    _words(
        "suffix",
        "[w + {a} for w in ws]",
        ("affix",),
        ("append {a} to every word in the list", "put {a} at the end of all words in the list"),
        "put {a} at the end of every word in the list",
        ("append {a} to each", "put {a} at the end of each"),
        "append {a} to every one",
    ),
)
WORD_KEEPS = (
    _words(
        "longer",
        "[w for w in ws if len(w) > {a}]",
        ("length",),
        ("keep the words in the list longer than {a}", "find the words of the list with more than {a} letters"),
        "keep the words of the list with more than {a} letters",
        ("keep those longer than {a}", "keep those with more than {a} letters"),
        "keep the words longer than {a}",
    ),
    _words(
        "shorter",
        "[w for w in ws if len(w) < {a}]",
        ("length",),
        ("keep the words in the list shorter than {a}", "find the words of the list with less than {a} letters"),
        "keep the words of the list with less than {a} letters",
        ("keep those shorter than {a}", "keep those with less than {a} letters"),
        "keep the words shorter than {a}",
    ),
    _words(
        "with_letter",
        "[w for w in ws if {a} in w]",
        ("letter",),
        ("keep the words in the list that contain {a}", "find the words of the list with the letter {a}"),
        "keep the words of the list with the letter {a}",
        ("keep those that contain {a}", "keep those with the letter {a}"),
        "find those that contain {a}",
    ),
)
