"""The embedded default: small MBPP-format problems from parameterised families, their tokenizer and a tiny model."""
