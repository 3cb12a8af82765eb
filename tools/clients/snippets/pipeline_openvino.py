import json

from optimum.intel import OVModelForSequenceClassification
from transformers import AutoTokenizer, pipeline

folder = "out/X.bundle/model"
with open(f"{folder}/../bundle.json") as file:
    options = json.load(file)["runtime"]["options"]
tokenizer = AutoTokenizer.from_pretrained(folder)
model = OVModelForSequenceClassification.from_pretrained(folder, ov_config=options)
classify = pipeline("text-classification", model=model, tokenizer=tokenizer)
outputs = classify("a gripping film", truncation=True)
