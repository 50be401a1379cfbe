"""Chat templates of the common shapes, in words of our own: what matters is where a turn ends and what a template changes."""

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>"
    "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
# The answer follows its question, closed by EOS; a system message stands in the first question.
MISTRAL = (
    "{{ bos_token }}{% set ns = namespace(system='') %}{% for m in messages %}"
    "{% if m.role == 'system' %}{% set ns.system = m.content + '\n\n' %}"
    "{% elif m.role == 'user' %}[INST] {{ ns.system }}{{ m.content }}[/INST]{% set ns.system = '' %}"
    "{% else %} {{ m.content }}</s>{% endif %}{% endfor %}"
)
# Other names for the roles, and no system message.
GEMMA = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
# Asks for an answer after empty reasoning, and leaves the reasoning of all answers but the last away.
REASONING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content.split('</think>')[-1].lstrip('\n') if m.role == 'assistant' else m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n\n</think>\n\n{% endif %}"
)
# No token of its own ends a turn: text does.
ALPACA = (
    "{% for m in messages %}### {{ m.role | capitalize }}:\n{{ m.content }}\n### End\n\n{% endfor %}"
    "{% if add_generation_prompt %}### Assistant:\n{% endif %}"
)
# An answer ends where EOS is sampled, and nothing says so in the text.
UNMARKED = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)
# Only the last message is shown.
FORGETFUL = "{{ messages[-1].content }}{% if add_generation_prompt %}\n>{% endif %}"

SHAPES = {
    "chatml": CHATML,
    "llama3": LLAMA3,
    "mistral": MISTRAL,
    "gemma": GEMMA,
    "reasoning": REASONING,
    "alpaca": ALPACA,
    "unmarked": UNMARKED,
}
TOKENS = {
    "chatml": ["<|im_start|>", "<|im_end|>"],
    "llama3": ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    "mistral": ["[INST]", "[/INST]"],
    "gemma": ["<start_of_turn>", "<end_of_turn>"],
    "reasoning": ["<|im_start|>", "<|im_end|>"],
}


def speak(tokenizer, shape):
    """`tokenizer` with the template of a shape, and its markers as special tokens, as models have them."""
    tokenizer.chat_template = SHAPES[shape]
    tokens = {"extra_special_tokens": TOKENS.get(shape, [])}
    for role, token in (("bos_token", "<s>"), ("eos_token", "</s>")):
        if getattr(tokenizer, role) is None or shape == "mistral":
            tokens[role] = token
    tokenizer.add_special_tokens(tokens)
    return tokenizer
