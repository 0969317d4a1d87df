"""From a run to one file that predicts elsewhere: ONNX, torch.export."""
