from sentence_transformers import SentenceTransformer

model = SentenceTransformer("out/X.bundle/model", backend="onnx")
outputs = model.encode("a gripping film")
