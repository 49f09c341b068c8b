"""Trains on the GPU of the job, or on the processor where there is none."""

import os

# With PyTorch: device = "cuda" if torch.cuda.is_available() else "cpu"
device = "cuda" if os.environ.get("CUDA_VISIBLE_DEVICES") else "cpu"
print(f"Training on {device} ...")
