"""Which of an answer's fenced blocks is its program."""

import pytest

from data.fences import fenced, fenced_code


def test_a_fenced_answer():
    assert fenced("x = 1\ny = 2") == "```python\nx = 1\ny = 2\n```"
    assert fenced_code(fenced("x = 1\n\n    y = 2")) == "x = 1\n\n    y = 2"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Here:\n```python\nx = 1\n```\nThat is all.", "x = 1"),
        ("This is wrong:\n```python\nx = 1\n```\nThis is right:\n```python\nx = 2\n```", "x = 2"),
        ("```python\nx = 1\n```\nOutput:\n```\n1\n```", "x = 1"),
        ("```py\nx = 1\n```\n```bash\npython x.py\n```", "x = 1"),
        ("```\nx = 1\n```", "x = 1"),
        ("```Python\nx = 1\n```", "x = 1"),
        ("```python\nx = 1\n```\nOnce more:\n```python\nx = 1\ny =", "x = 1"),
        ("```python\nx = 1\ny =", "x = 1\ny ="),
        ("```python\nx = 1\n``", "x = 1\n``"),
        ("```bash\nls\n```", ""),
        ("x = 1\n", "x = 1"),
        ("", ""),
        ("I think of\n```python\nx = 1\n```\n</think>\n```\nx = 2\n```", "x = 2"),
        ('```python\ns = "```"\n```', 's = "```"'),
        ("````python\ns = '''\n```\n'''\n````", "s = '''\n```\n'''"),
        ("1. First:\n   ```python\n   x = 1\n   ```", "   x = 1"),
        ("```python title=x.py\nx = 1\n```", "x = 1"),
        ("```python\r\nx = 1\r\n```\r\n", "x = 1\r"),
        ("```x = 1```", "```x = 1```"),
    ],
)
def test_which_block_counts(text, code):
    assert fenced_code(text) == code
