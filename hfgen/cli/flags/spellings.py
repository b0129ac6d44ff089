"""What hands type: other spellings that hfgen accepts, and foreign names that it answers.

The only home of both. What is accepted is replaced by hfgen's own word before it is read
(`hfgen.cli.flags.typed`); help pages show hfgen's own words alone. What is answered is refused,
with the word that is right here. The names are those of ollama, llm, mlx-lm, llama.cpp and
Transformers. Standard library only.
"""

from __future__ import annotations

COMMANDS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("run",): ("generate",),
    ("pull",): ("models", "pull"),
    ("list",): ("models", "list"),
    ("ls",): ("models", "list"),
    ("rm",): ("models", "rm"),
    ("show",): ("models", "show"),
    ("chat", "list"): ("chats", "list"),
    ("chat", "ls"): ("chats", "list"),
    ("chat", "show"): ("chats", "show"),
    ("chat", "rm"): ("chats", "rm"),
    ("models", "ls"): ("models", "list"),
    ("models", "remove"): ("models", "rm"),
    ("models", "delete"): ("models", "rm"),
    ("models", "download"): ("models", "pull"),
}
"""Commands by other names."""

FLAGS = {
    "--max-tokens": "--max-new-tokens",
    "--temp": "--temperature",
    "--lr": "--learning-rate",
    "-s": "--system",
    "--json": "--format=json",
    "--jsonl": "--format=jsonl",
    "--text-lines": "--lines",
    "--count": "--num-return-sequences",
}
"""Flags by other names, in commands that have the right one and not the other."""

NAMES_ITS_ARGUMENT = {
    "models show": ("-m", "--model"),
    "models pull": ("-m", "--model"),
    "models rm": ("-m", "--model"),
    "merge": ("-m", "--model"),
}
"""Flags that may stand before a command's argument, and mean it."""

ANSWERED_COMMANDS = {
    "train": "hfgen finetune DATA learns your examples, hfgen pretrain DATA makes a new model",
    "lora": "hfgen finetune DATA --lora",
    "fuse": "hfgen merge ADAPTER -o DIR",
    "prompt": "hfgen generate TEXT",
    "complete": "hfgen generate TEXT",
    "download": "hfgen models pull NAME",
    "search": "hfgen models list, or https://huggingface.co/models",
    "ps": "a model runs only while its command does; hfgen models list shows what is cached",
    "aliases": "hfgen models alias",
    "settings": "hfgen config list",
    "benchmark": "hfgen bench MODEL",
    "convert": "a .gguf file is read as it is: hfgen generate -m FILE.gguf TEXT",
    "quantize": "hfgen generate --quantize int8 TEXT",
    "login": "hf auth login, or set HF_TOKEN",
}
"""Commands of other programs, and what to type here."""

_LENGTH = ("-n",)
_SAMPLES = ("--num-return-sequences",)
_GPU, _CPU = ("--device cuda",), ("--device cpu",)
_HALF = ("--dtype float16", "--precision fp16")
_BFLOAT = ("--dtype bfloat16", "--precision bf16")
_SINGLE = ("--dtype float32", "--precision fp32")
_WINDOW = (
    "--max-length",
    "--context",
    "the window is the model's; --overflow says what happens beyond it",
)
_PROMPT = ("give the text itself, without a flag",)
_DATA = ("name the data itself, without a flag",)
_STREAMS = ("text always streams on a terminal",)
_BATCH = ("--batch-size", "--slots")

ANSWERED_FLAGS: dict[str, tuple[str, ...]] = {
    # Length and stops.
    **dict.fromkeys(("--max-length", "--length", "--n-predict", "--num-predict"), _LENGTH),
    **dict.fromkeys(("--num-tokens", "--max-new", "--max-gen-len", "--n-tokens"), _LENGTH),
    **dict.fromkeys(("--max-completion-tokens", "--predict"), _LENGTH),
    "--max-tokens": (*_LENGTH, "--max-length"),
    "--min-length": ("--min-new-tokens",),
    **dict.fromkeys(("--stop-sequence", "--stop-sequences", "--stop-words"), ("--stop",)),
    **dict.fromkeys(("--reverse-prompt", "-r"), ("--stop",)),
    # Sampling.
    "--n": ("the length is -n, the number of texts --num-return-sequences",),
    **dict.fromkeys(("--num-samples", "--n-samples", "--samples", "--num-sequences"), _SAMPLES),
    "--topk": ("--top-k",),
    "--topp": ("--top-p",),
    "--sample": ("--do-sample",),
    **dict.fromkeys(("--no-sample", "--no-do-sample", "--deterministic"), ("--greedy",)),
    "--random-seed": ("--seed",),
    **dict.fromkeys(("--beams", "--beam-size", "--beam-width"), ("--num-beams",)),
    "--repeat-penalty": ("--repetition-penalty",),
    **dict.fromkeys(("--cfg-scale", "--cfg"), ("--guidance-scale",)),
    **dict.fromkeys(("--draft-model", "--model-draft", "-md"), ("--assistant-model",)),
    # Prompts and output.
    **dict.fromkeys(("--prompt", "-p", "--text", "--query"), _PROMPT),
    **dict.fromkeys(("--prompt-file", "--input-file", "--from-file"), ("--file", *_DATA)),
    "--input": ("--file", *_DATA),
    **dict.fromkeys(("--system-prompt", "--system-message", "--sys"), ("--system",)),
    **dict.fromkeys(("--stream", "--no-stream"), _STREAMS),
    **dict.fromkeys(("--no-display-prompt", "--no-prompt"), ("--no-echo",)),
    **dict.fromkeys(("--display-prompt", "--include-prompt"), ("--echo",)),
    **dict.fromkeys(("--no-chat-template", "--ignore-chat-template"), ("--raw",)),
    "--chat-template": ("the model's own is used; --raw leaves it out",),
    **dict.fromkeys(("--out", "--output-file", "--out-file", "--save"), ("--output",)),
    **dict.fromkeys(("--output-dir", "--save-dir", "--out-dir"), ("--output",)),
    **dict.fromkeys(("--save-path", "--output-path", "--adapter-path"), ("--output", "--model")),
    "--force": ("--overwrite", "--yes"),
    "--silent": ("--quiet",),
    "--jsonl": ("--json",),
    # The model, and where it runs.
    **dict.fromkeys(("--model-path", "--model-name", "--model-id", "--pretrained"), ("--model",)),
    **dict.fromkeys(("--model-name-or-path", "--hf-repo", "-hf"), ("--model",)),
    **dict.fromkeys(("--adapter", "--peft-model"), ("--model",)),
    **dict.fromkeys(("--gpu", "--gpus", "--cuda", "--use-gpu"), _GPU),
    **dict.fromkeys(("--n-gpu-layers", "--gpu-layers", "-ngl", "--num-gpu"), _GPU),
    **dict.fromkeys(("--cpu", "--no-cuda", "--use-cpu", "--no-gpu"), _CPU),
    **dict.fromkeys(("--fp16", "--half", "--float16"), _HALF),
    **dict.fromkeys(("--bf16", "--bfloat16"), _BFLOAT),
    **dict.fromkeys(("--fp32", "--float32"), _SINGLE),
    "--torch-dtype": ("--dtype", "--precision"),
    "--dtype": ("--precision",),
    "--precision": ("--dtype",),
    **dict.fromkeys(("--load-in-8bit", "--8bit", "--int8", "--quantization"), ("--quantize int8",)),
    **dict.fromkeys(("--load-in-4bit", "--4bit"), ("--qlora", "--quantize int8")),
    **dict.fromkeys(("--num-threads", "--n-threads"), ("--threads",)),
    **dict.fromkeys(("--attn-implementation", "--flash-attn", "-fa"), ("--attn",)),
    **dict.fromkeys(("--ctx-size", "--context-size", "--num-ctx", "--n-ctx", "-c"), _WINDOW),
    **dict.fromkeys(("--max-seq-length", "--max-seq-len", "--block-size"), _WINDOW),
    **dict.fromkeys(("--batch", "-b", "--bs", "--parallel", "-np"), _BATCH),
    "--batch-size": ("--slots",),
    "--local-files-only": ("--offline",),
    "--cache-dir": ("set HF_HUB_CACHE to another folder",),
    **dict.fromkeys(("--token", "--hf-token", "--api-key"), ("set HF_TOKEN, or hf auth login",)),
    **dict.fromkeys(("--use-cache", "--no-cache"), ("the KV cache is always used",)),
    **dict.fromkeys(("--interactive", "-i", "-cnv"), ("hfgen chat is the dialogue",)),
    # Training.
    **dict.fromkeys(("--data", "--dataset", "--train", "--train-file", "--train-data"), _DATA),
    **dict.fromkeys(("--num-epochs", "--num-train-epochs", "--epoch"), ("--epochs",)),
    **dict.fromkeys(("--steps", "--iters", "--max-iters", "--num-steps"), ("--max-steps",)),
    **dict.fromkeys(("--per-device-train-batch-size", "--train-batch-size"), ("--batch-size",)),
    **dict.fromkeys(("--grad-accum", "--accumulation-steps"), ("--gradient-accumulation-steps",)),
    **dict.fromkeys(("--lr-scheduler-type", "--lr-schedule", "--scheduler"), ("--lr-scheduler",)),
    **dict.fromkeys(("--warmup-steps", "--warmup-ratio"), ("--warmup",)),
    "--optimizer": ("--optim",),
    "--grad-checkpoint": ("--gradient-checkpointing",),
    **dict.fromkeys(("--eval-data", "--validation-file", "--val-file"), ("--val-data",)),
    **dict.fromkeys(("--test-size", "--val-size", "--validation-split"), ("--val-split",)),
    "--patience": ("--early-stopping",),
    **dict.fromkeys(("--lora-rank", "--rank"), ("--lora-r",)),
    **dict.fromkeys(("--use-lora", "--peft", "--fine-tune-type"), ("--lora",)),
    "--mask-prompt": ("prompts are masked unless --train-on-prompt is given",),
    **dict.fromkeys(("--wandb", "--tensorboard"), ("--report-to",)),
    **dict.fromkeys(("--resume-from-checkpoint", "--continue"), ("--resume",)),
}
"""Flags of other programs: what to write here. The first that the command has is the answer; what
does not begin with a dash is a sentence, and fits every command."""
