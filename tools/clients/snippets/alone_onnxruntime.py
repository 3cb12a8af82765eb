import json

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

folder = "out/X.bundle/model"
with open(f"{folder}/../bundle.json") as file:
    bundle = json.load(file)
tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
tokenizer.enable_truncation(bundle["tokenizer"]["max_length"])
session = onnxruntime.InferenceSession(f"{folder}/model.onnx")


def run(*texts):
    found = tokenizer.encode(*texts)
    all_feeds = {
        "input_ids": found.ids,
        "attention_mask": found.attention_mask,
        "token_type_ids": found.type_ids,
    }
    feeds = {each.name: np.array([all_feeds[each.name]]) for each in session.get_inputs()}
    return dict(zip([each.name for each in session.get_outputs()], session.run(None, feeds), strict=True))


outputs = run("a gripping film")
