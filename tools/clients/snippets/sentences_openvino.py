from sentence_transformers import SentenceTransformer

model = SentenceTransformer("out/X.bundle/model", backend="openvino")
outputs = model.encode("a gripping film")
