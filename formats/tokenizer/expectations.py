"""Writes expectations.json: what the `tokenizers` library makes of some texts with the tokenizer.json files of npm packages.

    npm install && pip install tokenizers==0.23.3
    python formats/tokenizer/expectations.py
"""
import hashlib
import json
import struct
from pathlib import Path

import tokenizers

ROOT = Path(__file__).resolve().parents[2]
TEXTS = [
    "",
    " ",
    "Hello",
    "The capital of France is",
    " leading space",
    "   three leading, trailing  ",
    "\n\nlines\r\n\ttabs\t\t\n",
    "0 12 345 6789 3.14159 1e-5",
    "def f(x):\n    return {k: v**2 for k, v in x.items()}  # ok\n",
    "It's they'll WE'RE don't",
    "naïve café Ångström — “quotes” … €",
    "日本語のテキスト、漢字と仮名。",
    "中文分词测试，全角标点！",
    "한국어 문장입니다. Русский текст. العربية",
    "👍🏽 👩‍👩‍👧‍👦 🇩🇪 😀😀",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 ꧁ \u0000 \ufeff \u200b end",
    "<s> </s> <bos> <|begin_of_text|> <start_of_turn>user",
    "a▁b ▁▁ c",
    "a" * 200 + " " * 100 + "é" * 50,
]
PACKAGES = ["llama2", "llama3", "gemma3"]


def expectations(package):
    path = ROOT / f"node_modules/@lenml/tokenizer-{package}/models/tokenizer.json"
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    long_text = (ROOT / "texts/test.txt").read_text(encoding="utf-8")
    long_ids = tokenizer.encode(long_text, add_special_tokens=False).ids
    encoded = [tokenizer.encode(text).ids for text in TEXTS]
    return {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "ids": encoded,
        "decoded": [tokenizer.decode(ids, skip_special_tokens=False) for ids in encoded],
        "skipped": [tokenizer.decode(ids, skip_special_tokens=True) for ids in encoded],
        "long": {
            "count": len(long_ids),
            "sha256": hashlib.sha256(struct.pack(f"<{len(long_ids)}I", *long_ids)).hexdigest(),
        },
    }


result = {
    "made": f"by expectations.py with tokenizers {tokenizers.__version__}; long: texts/test.txt without special tokens, ids as uint32",
    "texts": TEXTS,
    "tokenizers": {package: expectations(package) for package in PACKAGES},
}
with open(ROOT / "formats/tokenizer/expectations.json", "w", encoding="utf-8") as file:
    json.dump(result, file, ensure_ascii=False)
