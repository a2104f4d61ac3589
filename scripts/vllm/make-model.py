#!/usr/bin/env python3
"""Makes a small Llama-style model that vLLM can serve, without any download.

    make-model.py FOLDER --template chatml|llama3 [--bos]

The tokenizer is a byte-level BPE trained on the standard library's sources (the same for one Python version). The
weights are random but matter: the text depends on the whole prompt. With --bos the tokenizer puts the start token
before raw prompts. Needs tokenizers, numpy and safetensors, which vLLM brings.
"""
import argparse
import glob
import json
import os
import sysconfig

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

VOCABULARY = 8192
HIDDEN = 64
HEAD = 32
LAYERS = 2
MAX_LENGTH = 4096
CORPUS_BYTES = 12_000_000

# How Llama 3 splits text before merging.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# Tools before the system text, as templates of the Qwen family have them.
CHATML = """\
{%- if tools %}{{- '<|im_start|>system\\n' }}
{%- if messages[0]['role'] == 'system' %}{{- messages[0]['content'] + '\\n\\n' }}{% endif %}
{{- '# Tools\\n\\nFunction signatures:\\n<tools>' }}
{%- for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{% endfor %}
{{- '\\n</tools><|im_end|>\\n' }}
{%- endif %}
{%- for m in messages %}
{%- if not (tools and loop.first and m['role'] == 'system') %}
{{- '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{% endif %}"""

# Contents trimmed, tools in a block of their own after the system text.
LLAMA3 = """\
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
{%- set system = messages[0]['content'] | trim %}{% set rest = messages[1:] %}
{%- else %}{% set system = '' %}{% set rest = messages %}{% endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' }}
{%- if tools %}{{- 'Environment: ipython\\n' }}{% endif %}
{{- 'Cutting Knowledge Date: December 2023\\n\\n' }}
{%- if tools %}
{{- 'You have these functions:\\n\\n' }}
{%- for t in tools %}{{- t | tojson(indent=4) }}{{- '\\n\\n' }}{% endfor %}
{%- endif %}
{{- system + '<|eot_id|>' }}
{%- for m in rest %}
{{- '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + m['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""

STYLES = {
    "chatml": {
        "specials": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        "bos": None,
        "eos": "<|im_end|>",
        "pad": "<|endoftext|>",
        "template": CHATML,
    },
    "llama3": {
        "specials": [
            "<|begin_of_text|>",
            "<|end_of_text|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|eot_id|>",
        ],
        "bos": "<|begin_of_text|>",
        "eos": "<|eot_id|>",
        "pad": "<|end_of_text|>",
        "template": LLAMA3,
    },
}


def corpus():
    folder, used = sysconfig.get_paths()["stdlib"], 0
    patterns = ["*.py", "pydoc_data/*.py", "email/*.py", "asyncio/*.py", "idlelib/*.txt"]
    for name in sorted(f for p in patterns for f in glob.glob(os.path.join(folder, p))):
        with open(name, encoding="utf-8", errors="ignore") as file:
            text = file.read()
        used += len(text)
        yield text
        if used > CORPUS_BYTES:
            return


def tokenizer(style, bos):
    made = Tokenizer(models.BPE(byte_fallback=False, ignore_merges=False))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(style["specials"]),
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    made.train_from_iterator(corpus(), trainer)
    made.add_special_tokens(style["specials"])
    after = processors.ByteLevel(trim_offsets=False)
    if bos:
        first = style["bos"]
        start = processors.TemplateProcessing(
            single=f"{first} $A",
            pair=f"{first} $A {first}:1 $B:1",
            special_tokens=[(first, made.token_to_id(first))],
        )
        after = processors.Sequence([after, start])
    made.post_processor = after
    return made


def weights(vocabulary):
    random = np.random.default_rng(1)

    def matrix(rows, columns, scale=1.0):
        return (random.standard_normal((rows, columns)) * scale / np.sqrt(columns)).astype(np.float32)

    wide, ones = HIDDEN * 2, np.ones(HIDDEN, np.float32)
    tensors = {
        "model.embed_tokens.weight": random.standard_normal((vocabulary, HIDDEN)).astype(np.float32),
        "model.norm.weight": ones,
        "lm_head.weight": matrix(vocabulary, HIDDEN, 4.0),
    }
    for layer in range(LAYERS):
        p = f"model.layers.{layer}."
        tensors |= {
            p + "self_attn.q_proj.weight": matrix(HIDDEN, HIDDEN, 2.0),
            p + "self_attn.k_proj.weight": matrix(HEAD, HIDDEN, 2.0),
            p + "self_attn.v_proj.weight": matrix(HEAD, HIDDEN, 2.0),
            p + "self_attn.o_proj.weight": matrix(HIDDEN, HIDDEN, 4.0),
            p + "mlp.gate_proj.weight": matrix(wide, HIDDEN),
            p + "mlp.up_proj.weight": matrix(wide, HIDDEN),
            p + "mlp.down_proj.weight": matrix(HIDDEN, wide),
            p + "input_layernorm.weight": ones,
            p + "post_attention_layernorm.weight": ones,
        }
    return tensors


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder")
    parser.add_argument("--template", choices=STYLES, required=True)
    parser.add_argument("--bos", action="store_true", help="raw prompts get the start token (llama3)")
    options = parser.parse_args()
    style = STYLES[options.template]
    if options.bos and not style["bos"]:
        parser.error(f"--bos: {options.template} has no start token")
    os.makedirs(options.folder, exist_ok=True)

    made = tokenizer(style, options.bos)
    made.save(os.path.join(options.folder, "tokenizer.json"))
    ids = {token: made.token_to_id(token) for token in style["specials"]}

    def put(name, value):
        with open(os.path.join(options.folder, name), "w", encoding="utf-8") as file:
            json.dump(value, file, indent=1, ensure_ascii=False)

    put(
        "config.json",
        {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": HIDDEN,
            "intermediate_size": HIDDEN * 2,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HIDDEN // HEAD,
            "num_key_value_heads": 1,
            "head_dim": HEAD,
            "hidden_act": "silu",
            "max_position_embeddings": MAX_LENGTH,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "vocab_size": made.get_vocab_size(),
            "tie_word_embeddings": False,
            "attention_bias": False,
            "mlp_bias": False,
            "dtype": "bfloat16",
            "bos_token_id": ids.get(style["bos"]),
            "eos_token_id": ids[style["eos"]],
            "pad_token_id": ids[style["pad"]],
        },
    )
    put(
        "generation_config.json",
        {"eos_token_id": ids[style["eos"]], "pad_token_id": ids[style["pad"]]},
    )
    put(
        "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": MAX_LENGTH,
            "bos_token": style["bos"],
            "eos_token": style["eos"],
            "pad_token": style["pad"],
            "clean_up_tokenization_spaces": False,
            "chat_template": style["template"],
            "added_tokens_decoder": {
                str(number): {
                    "content": token,
                    "lstrip": False,
                    "normalized": False,
                    "rstrip": False,
                    "single_word": False,
                    "special": True,
                }
                for token, number in ids.items()
            },
        },
    )
    tensors = weights(made.get_vocab_size())
    save_file(tensors, os.path.join(options.folder, "model.safetensors"), metadata={"format": "pt"})


if __name__ == "__main__":
    main()
