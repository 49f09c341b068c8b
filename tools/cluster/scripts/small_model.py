"""Write FILE, a model for llama.cpp that knows nothing: its weights are random."""

import sys

import gguf
import numpy as np

WORDS = ("a", "job", "node", "queue", "core", "file", "cell", "waits", "runs", "and", "or", "not")
BYTES = [f"<0x{number:02X}>" for number in range(256)]  # what it reads is split into these
SIZE = 32

kind = gguf.TokenType
tokens = ["<unk>", "<s>", "</s>", *BYTES, *(f"\u2581{word}" for word in WORDS)]
kinds = [kind.UNKNOWN, kind.CONTROL, kind.CONTROL, *[kind.BYTE] * 256, *[kind.NORMAL] * len(WORDS)]
model = gguf.GGUFWriter(sys.argv[1], "llama")
model.add_context_length(2048)
model.add_embedding_length(SIZE)
model.add_feed_forward_length(SIZE)
model.add_block_count(1)
model.add_head_count(2)
model.add_layer_norm_rms_eps(1e-5)
model.add_tokenizer_model("llama")
model.add_token_list(tokens)
model.add_token_scores([0.0] * len(tokens))
model.add_token_types(kinds)
random = np.random.default_rng(22)
says = random.normal(size=(len(tokens), SIZE)).astype(np.float32)
says[: -len(WORDS)] = 0  # it says nothing but words
square = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
for name, shape in [
    ("token_embd", (len(tokens), SIZE)),
    ("output_norm", (SIZE,)),
    *((f"blk.0.{name}", (SIZE,)) for name in ("attn_norm", "ffn_norm")),
    *((f"blk.0.{name}", (SIZE, SIZE)) for name in square),
]:
    model.add_tensor(f"{name}.weight", random.normal(size=shape).astype(np.float32))
model.add_tensor("output.weight", 5 * says)
model.write_header_to_file()
model.write_kv_data_to_file()
model.write_tensors_to_file()
model.close()
