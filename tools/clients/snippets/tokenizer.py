from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("out/X.bundle/model")
outputs = tokenizer("a gripping film", truncation=True)
