import json

import numpy as np
import openvino
from tokenizers import Tokenizer

folder = "out/X.bundle/model"
with open(f"{folder}/../bundle.json") as file:
    bundle = json.load(file)
tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
tokenizer.enable_truncation(bundle["tokenizer"]["max_length"])
model = openvino.compile_model(f"{folder}/openvino_model.xml", "CPU", bundle["runtime"]["options"])


def run(*texts):
    found = tokenizer.encode(*texts)
    all_feeds = {
        "input_ids": found.ids,
        "attention_mask": found.attention_mask,
        "token_type_ids": found.type_ids,
    }
    feeds = {name: np.array([all_feeds[name]]) for name in (each.any_name for each in model.inputs)}
    return {output.any_name: value for output, value in model(feeds).items()}


outputs = run("a gripping film")
