"""A thalweg optimizer, schedule and loss in the Trainer of Hugging Face's transformers.

The model is a tiny BERT with random weights that learns which of four words a sentence repeats.
"""

import tempfile

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

from thalweg.losses import ZLoss
from thalweg.optim import DiffGrad
from thalweg.schedules import UBA

z_loss = ZLoss(a=1.0, b=2.0)


def sentences(n: int, seed: int) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(4, 32, (n, 12), generator=generator)
    labels = torch.randint(0, 4, (n,), generator=generator)
    words[:, 3:6] = labels[:, None]
    return [{"input_ids": w, "labels": c} for w, c in zip(words, labels, strict=True)]


def loss(outputs, labels, num_items_in_batch=None):
    return z_loss(outputs.logits, labels)


def main(steps: int = 60) -> float:
    torch.manual_seed(0)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=32,
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=16,
            num_labels=4,
        )
    )
    optimizer = DiffGrad(model.parameters(), lr=3e-3)
    schedule = UBA(optimizer, total_steps=steps)
    test = sentences(200, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=folder,
                max_steps=steps,
                per_device_train_batch_size=32,
                save_strategy="no",
                report_to="none",
                dataloader_pin_memory=False,
                disable_tqdm=True,
            ),
            train_dataset=sentences(1000, seed=0),
            optimizers=(optimizer, schedule),
            compute_loss_func=loss,
        )
        trainer.train()
        logits, labels, _ = trainer.predict(test)
    return float((logits.argmax(1) == labels).mean())


if __name__ == "__main__":
    print(f"accuracy on 200 new sentences: {main():.1%}")
