"""Models of ``transformers`` in small random configurations, with dict batches and their own loss."""

from __future__ import annotations

import torch
import transformers

from jets_models.claims import Case

transformers.logging.set_verbosity_error()


def own_loss(model, batch):
    return model(**batch).loss


def text(masked):
    """Token ids; ``masked``: the second sequence is padded, on the right."""
    ids = torch.randint(0, 29, (3, 7))
    batch = {"input_ids": ids, "labels": ids.clone()}
    if masked:
        batch["attention_mask"] = torch.ones_like(ids)
        batch["attention_mask"][1, 5:] = 0
        batch["labels"][1, 5:] = -100
    return batch


def gpt2(attention, *, masked=False, dropout=0.0):
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=29,
        n_positions=16,
        n_embd=16,
        n_layer=2,
        n_head=2,
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=dropout,
        bos_token_id=0,
        eos_token_id=0,
        attn_implementation=attention,
    )
    return Case(transformers.GPT2LMHeadModel(config), own_loss, text(masked))


def llama(attention, *, masked=False, tied=False):
    """Grouped-query attention, rotary embeddings, RMS norm, gated feed-forward."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=29,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
        tie_word_embeddings=tied,
        attn_implementation=attention,
    )
    return Case(transformers.LlamaForCausalLM(config), own_loss, text(masked))


def vision(attention):
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        image_size=8,
        patch_size=4,
        num_labels=5,
        attn_implementation=attention,
    )
    batch = {"pixel_values": torch.randn(3, 3, 8, 8), "labels": torch.randint(0, 5, (3,))}
    return Case(transformers.ViTForImageClassification(config), own_loss, batch)


def bert(attention):
    """An encoder with a classification head; its dropout is off in evaluation mode."""
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=29,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=16,
        attn_implementation=attention,
    )
    batch = {"input_ids": text(masked=False)["input_ids"], "labels": torch.tensor([0, 1, 0])}
    return Case(transformers.BertForSequenceClassification(config), own_loss, batch, {"mode": "eval"})
