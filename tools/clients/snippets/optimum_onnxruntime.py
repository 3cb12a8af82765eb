from optimum.onnxruntime import ORTModelForSequenceClassification
from transformers import AutoTokenizer

folder = "out/X.bundle/model"
tokenizer = AutoTokenizer.from_pretrained(folder)
model = ORTModelForSequenceClassification.from_pretrained(folder)
outputs = model(**tokenizer("a gripping film", truncation=True, return_tensors="pt"))
