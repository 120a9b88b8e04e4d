"""Converters from ONNX operators to Relax, one small file per operator or close family.

Every module in this folder is loaded; adding an operator is adding a file (docs/how_to/add_an_operator.md).
"""
