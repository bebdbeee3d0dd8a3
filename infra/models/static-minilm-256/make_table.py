# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy>=2.4", "onnxruntime>=1.23"]
# ///
"""Distil a static embedding table from MiniLM: one vector for every id of its vocabulary.

Run it with `uv run make_table.py MODEL_FOLDER OUT_FOLDER`; the README beside it says how the method was chosen and what
it is worth. `MODEL_FOLDER` holds `model.onnx` and `tokenizer.json` of sentence-transformers/all-MiniLM-L6-v2. With
`--compare FOLDER` it also says how close the result is to a table that was made before.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

DIMENSIONS = 256
CLS, SEP = 101, 102
"""Ids of BERT's uncased vocabulary that frame every text."""
BATCH = 512
ZIPF_SMOOTHING = 1e-4
"""The `a` of a / (a + p) in smooth inverse frequency weighting (Arora, Liang and Ma, ICLR 2017)."""
RANK_OFFSET = 3
"""The vocabulary is sorted by frequency, so an id is a rank; the offset keeps the first ones apart from certainty."""


def outputs_of_single_tokens(model: Path, n_tokens: int) -> NDArray[np.float32]:
    """Every id alone through the model, as `[CLS] id [SEP]`; the mean of the three output rows is its vector.

    Returns:
        (n_tokens, width of the model) float32.
    """
    session = ort.InferenceSession(model)
    rows = []
    for first in range(0, n_tokens, BATCH):
        ids = np.arange(first, min(first + BATCH, n_tokens), dtype=np.int64)
        framed = np.stack([np.full_like(ids, CLS), ids, np.full_like(ids, SEP)], axis=1)
        feed = {"input_ids": framed, "attention_mask": np.ones_like(framed), "token_type_ids": np.zeros_like(framed)}
        (hidden,) = session.run(["last_hidden_state"], feed)
        rows.append(hidden.mean(axis=1))
        sys.stderr.write(f"\r{min(first + BATCH, n_tokens):,} of {n_tokens:,} ids")
    sys.stderr.write("\n")
    return np.concatenate(rows).astype(np.float32)


def principal_components(rows: NDArray[np.float32], dimensions: int) -> NDArray[np.float32]:
    """Rows, centred, along the directions of their largest covariance.

    The sign of a direction is arbitrary; it is fixed so that its entry of largest magnitude is positive, or two runs on
    two machines would not give the same table.
    """
    centred = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    _, directions = np.linalg.eigh(centred.T @ centred / (len(rows) - 1))
    directions = directions[:, ::-1][:, :dimensions]
    largest = np.abs(directions).argmax(axis=0)
    directions = directions * np.sign(directions[largest, np.arange(dimensions)])
    return (centred @ directions).astype(np.float32)


def rarity_weights(n_tokens: int) -> NDArray[np.float32]:
    """What a token counts for in a mean: frequent ones little, by Zipf's law over the rank in the vocabulary."""
    ranks = np.arange(n_tokens) + RANK_OFFSET
    frequency_ratio = 1.0 / (ranks * np.log(1.78 * n_tokens))  # 1.78 is e to Euler's constant: the harmonic sum
    return (ZIPF_SMOOTHING / (ZIPF_SMOOTHING + frequency_ratio)).astype(np.float32)


def quantized(rows: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Rows as int8, with the float that scales each of them back."""
    scale = np.maximum(np.abs(rows).max(axis=1), np.finfo(np.float32).tiny) / 127
    return np.rint(rows / scale[:, None]).astype(np.int8), scale.astype(np.float32)


def report_closeness(made: NDArray[np.float32], known: NDArray[np.float32]) -> None:
    """Print how well two tables agree in what search sees of them: angles between rows.

    A small change of the model (int8 weights, say) turns neighbouring principal directions into each other, which no
    cosine between texts notices. So the rows are compared after the best rotation (orthogonal Procrustes).
    """
    left, _, right = np.linalg.svd(made.T.astype(np.float64) @ known)
    rotated = made @ (left @ right)
    norms = np.linalg.norm(rotated, axis=1) * np.linalg.norm(known, axis=1)
    cosines = (rotated * known).sum(axis=1) / np.maximum(norms, 1e-12)
    sys.stdout.write(
        f"cosine of rows after rotation: mean {cosines.mean():.4f}, median {np.median(cosines):.4f}, "
        f"1st percentile {np.percentile(cosines, 1):.4f}\n"
    )


def main() -> None:
    """Make the table, write it, compare it."""
    parser = argparse.ArgumentParser(description="Distil a static embedding table from MiniLM.")
    parser.add_argument("model", type=Path, help="folder with model.onnx and tokenizer.json")
    parser.add_argument("out", type=Path, help="folder to write table.int8.npy, scale.f32.npy and tokenizer.json into")
    parser.add_argument("--compare", type=Path, help="folder of a table made before")
    arguments = parser.parse_args()

    tokenizer = json.loads((arguments.model / "tokenizer.json").read_text(encoding="utf-8"))
    n_tokens = len(tokenizer["model"]["vocab"])
    rows = principal_components(outputs_of_single_tokens(arguments.model / "model.onnx", n_tokens), DIMENSIONS)
    table, scale = quantized(rows * rarity_weights(n_tokens)[:, None])

    arguments.out.mkdir(parents=True, exist_ok=True)
    np.save(arguments.out / "table.int8.npy", table)
    np.save(arguments.out / "scale.f32.npy", scale)
    shutil.copyfile(arguments.model / "tokenizer.json", arguments.out / "tokenizer.json")
    if arguments.compare is not None:
        known = np.load(arguments.compare / "table.int8.npy") * np.load(arguments.compare / "scale.f32.npy")[:, None]
        report_closeness(table * scale[:, None], known)


if __name__ == "__main__":
    main()
