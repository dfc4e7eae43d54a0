"""Adapters, each damaged in one way that a random generator chooses: files, settings, tensors, bytes."""

from __future__ import annotations

import json
import math
import os
import random
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

Damage = Callable[[random.Random, Path], str]

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
JUNK: list[Any] = [
    None, True, False, 0, -1, 1, 3, 2**31, 2**63, 10**400, 0.5, -0.5, 1e-300, 1e308, math.nan, math.inf, "", "x", "all",
    "q_proj", "pissa", ".*", "(a+)+$", "\ud800", "\0", "x" * 5000, "/etc/passwd", "../..", [], [None], [0], [10**9],
    ["q_proj"], ["lm_head"], ["q_proj", 1], [["q_proj"]], {}, {"q_proj": 10**9}, {"a": {"b": []}}, "SEQ_CLS",
    "CAUSAL_LM",
]  # fmt: skip
EXTRA = [
    "runtime_config", "use_dora", "modules_to_save", "auto_mapping", "rank_pattern", "alpha_pattern", "layers_pattern",
    "target_parameters", "lora_bias", "loftq_config", "eva_config", "megatron_config", "layer_replication", "unknown",
    "peft_type", "__class__", "self", "exclude_modules", "model_extra", "scale",
]  # fmt: skip
FILES: list[bytes] = [
    b"", b"[]", b"{}", b"null", b"1", b'"x"', b"{", b"[" * 100_000, b"\xff\xfe{}", b"1" * 5000,
    b'{"peft_type": "LORA"}', b'{"peft_type": "LORA", "r": 1, "r": 2}', b"\0" * 100, b" " * (1 << 21), b"NaN",
]  # fmt: skip


def damage(chance: random.Random, adapter: Path) -> str:
    """Damage an adapter; returns how. A few kinds leave it usable."""
    return chance.choice(KINDS)(chance, adapter)


def _setting(chance: random.Random, adapter: Path) -> str:
    config = json.loads((adapter / CONFIG).read_text())
    key, value = chance.choice([*config, *EXTRA]), chance.choice(JUNK)
    (adapter / CONFIG).write_text(json.dumps(config | {key: value}))
    return f"{key} = {value!r:.40}"


def _setting_missing(chance: random.Random, adapter: Path) -> str:
    config = json.loads((adapter / CONFIG).read_text())
    key = chance.choice(list(config))
    del config[key]
    (adapter / CONFIG).write_text(json.dumps(config))
    return f"no {key}"


def _config_file(chance: random.Random, adapter: Path) -> str:
    content = chance.choice(FILES)
    (adapter / CONFIG).write_bytes(content)
    return f"config {content[:30]!r}"


def _bytes(chance: random.Random, adapter: Path) -> str:
    path = adapter / chance.choice([CONFIG, WEIGHTS, WEIGHTS])
    content = bytearray(path.read_bytes())
    how = chance.choice(["flip", "flip the head", "cut", "extend", "zero"])
    if how == "cut":
        del content[chance.randrange(len(content)) :]
    elif how == "extend":
        content += b"\1" * chance.randrange(1, 100)
    elif how == "zero":
        start = chance.randrange(len(content))
        content[start : start + 64] = bytes(len(content[start : start + 64]))
    else:
        for _ in range(chance.randrange(1, 8)):
            place = chance.randrange(len(content) if how == "flip" else min(len(content), 2000))
            content[place] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
    return f"{how} {path.name}"


def _header(chance: random.Random, adapter: Path) -> str:
    """A valid file with one field of its header changed."""
    content = (adapter / WEIGHTS).read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    name = chance.choice([name for name in header if name != "__metadata__"])
    field, value = chance.choice(
        [
            (
                "dtype",
                chance.choice(["F8_E4M3", "F8_E5M2", "F64", "I8", "I32", "U8", "BOOL", "C64", "X", 1, "F4"]),
            ),
            (
                "shape",
                chance.choice([[], [0], [4], [4, 0], [-1, 4], [2**40, 2**40], [4, 64, 1], "x", None, [1e9]]),
            ),
            ("data_offsets", chance.choice([[0, 0], [0, 2**60], [8, 4], [-4, 4], [0], None, [0, 4]])),
        ]
    )
    header[name][field] = value
    changed = json.dumps(header).encode()
    length = chance.choice([len(changed)] * 4 + [0, 2**63, 10**9, len(changed) + 1])
    (adapter / WEIGHTS).write_bytes(struct.pack("<Q", length) + changed + content[8 + size :])
    return f"header {field} = {value!r:.40}, length {length}"


def _tensors(chance: random.Random, adapter: Path) -> str:
    import torch
    from safetensors.torch import load_file, save_file

    tensors = load_file(adapter / WEIGHTS)
    name = chance.choice(sorted(tensors))
    tensor = tensors[name]
    how = chance.choice(["type", "value", "scale", "shape", "name", "missing", "more", "none", "scale all"])
    detail: Any = ""
    if how == "type":
        detail = chance.choice(
            [torch.float8_e4m3fn, torch.float8_e5m2, torch.float64, torch.int8, torch.bool, torch.complex64,
             torch.bfloat16, torch.float16, torch.int64]
        )  # fmt: skip
        tensors[name] = tensor.to(detail)
    elif how == "value":
        detail = chance.choice([math.nan, math.inf, -math.inf, 1e38, 1e5, 0.0])
        tensor.view(-1)[chance.randrange(tensor.numel())] = detail
    elif how == "scale":
        detail = chance.choice([1e30, 1e6, 1e-30, 0.0, -1.0, 100.0])
        tensors[name] = tensor * detail
    elif how == "scale all":
        detail = chance.choice([1e30, 1e15, 1e4, 30.0, 1e-30])
        tensors = {key: value * detail for key, value in tensors.items()}
    elif how == "shape":
        detail = chance.choice(["transposed", "flat", "cut", "more", "empty"])
        changes = {
            "transposed": tensor.T, "flat": tensor.reshape(-1), "cut": tensor[:-1], "empty": tensor[:0],
            "more": torch.cat([tensor, tensor], 1),
        }  # fmt: skip
        tensors[name] = changes[detail].contiguous()
    elif how in ("name", "more"):
        detail = chance.choice(
            ["x", "", "\0", "é", name.upper(), name.replace(".0.", ".999999."), name.replace("lora_A", "lora_B"),
             name.replace("layers.0", "layers.1"), name + ".default", "base_model.model.lm_head.weight",
             name.replace("q_proj", "k_proj"), "base_model.model.model.embed_tokens.lora_A.weight", "x" * 3000]
        )  # fmt: skip
        tensors[detail] = tensors.pop(name) if how == "name" else tensor.clone()
    elif how == "missing":
        del tensors[name]
    else:
        tensors = {}
    save_file(tensors, adapter / WEIGHTS)
    return f"tensors: {how} {detail!r:.60}"


def _file(chance: random.Random, adapter: Path) -> str:
    """Something other than a file, or no file."""
    path = adapter / chance.choice([CONFIG, WEIGHTS, "README.md", "folder/more"])
    path.parent.mkdir(exist_ok=True)
    how = chance.choice(
        ["FIFO", "link", "dead link", "loop", "folder", "missing", "empty", "sparse", "socket", "closed"]
    )
    if how in ("sparse", "closed"):
        path.touch()
        if how == "sparse":
            os.truncate(path, 1 << 43)
        else:
            path.chmod(0)
        return f"{how} {path.name}"
    path.unlink(missing_ok=True)
    if how == "FIFO":
        os.mkfifo(path)
    elif how in ("link", "dead link", "loop"):
        path.symlink_to({"link": "/etc/passwd", "dead link": "/nowhere", "loop": path}[how])
    elif how == "folder":
        path.mkdir()
    elif how == "empty":
        path.touch()
    elif how == "socket":
        with socket.socket(socket.AF_UNIX) as server, suppress(OSError):  # a path may be too long for one
            server.bind(str(path))
    return f"{how} {path.name}"


def _name(chance: random.Random, adapter: Path) -> str:
    """A further file, or many, or a folder deep down."""
    name = chance.choice(
        [b"\xff\xfe", b"a\nb", b"x.py", b"x.pt", b".hidden", b"-rf", "é".encode(), b"%s{0}", b"many", b"deep"]
    )
    place = os.fsencode(adapter)
    if name == b"many":
        for number in range(200):
            (adapter / f"{number}.txt").touch()
    elif name == b"deep":
        adapter.joinpath(*["d"] * 100).mkdir(parents=True)
    else:
        os.close(os.open(place + b"/" + name, os.O_CREAT | os.O_WRONLY))
    return f"a file {name!r}"


def _nothing(chance: random.Random, adapter: Path) -> str:
    return "nothing"


KINDS: list[Damage] = [
    _setting, _setting, _setting, _setting_missing, _config_file, _bytes, _bytes, _header, _tensors, _tensors, _tensors,
    _file, _file, _name, _nothing,
]  # fmt: skip
