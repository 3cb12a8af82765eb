import json

from optimum.intel import OVModelForSequenceClassification
from transformers import AutoTokenizer

folder = "out/X.bundle/model"
with open(f"{folder}/../bundle.json") as file:
    options = json.load(file)["runtime"]["options"]
tokenizer = AutoTokenizer.from_pretrained(folder)
model = OVModelForSequenceClassification.from_pretrained(folder, ov_config=options)
outputs = model(**tokenizer("a gripping film", truncation=True, return_tensors="pt"))
