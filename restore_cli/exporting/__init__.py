"""Weights as other files: smaller ones that `--weights` reads back, and programs that run without this package.

request.py   the forms, and what was made
run.py       load, make, check, write
weights.py   .safetensors in float32, float16 or int8
program.py   .pt2 of torch.export or .onnx, with open sizes
"""
