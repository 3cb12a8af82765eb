"""Hugging Face's clients of a bundle: what they are asked, and how their answers compare with bertc's."""
