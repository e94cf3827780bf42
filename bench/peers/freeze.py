"""PyTorch's ways to prepare a module for inference: TorchScript, alone and with oneDNN's fusions."""

import torch

# Runs after which the executor has specialised its graph.
SPECIALISING = 3


def frozen(module, *inputs, fused=False):
    """Traced, with its weights as constants; fused by oneDNN Graph where asked."""
    # The switch is looked at while the graph is specialised, and optimize_for_inference fails
    # while it is on.
    torch.jit.enable_onednn_fusion(fused)
    try:
        with torch.no_grad():
            made = torch.jit.freeze(torch.jit.trace(module, inputs))
            for _ in range(SPECIALISING):
                made(*inputs)
            return made
    finally:
        torch.jit.enable_onednn_fusion(False)


def fused(module, *inputs):
    return frozen(module, *inputs, fused=True)


def optimized(module, *inputs):
    """Traced, frozen, and rewritten for inference: convolutions in oneDNN's own layout."""
    with torch.no_grad():
        return torch.jit.optimize_for_inference(torch.jit.trace(module, inputs))


WAYS = {"frozen": frozen, "frozen, fused": fused, "optimised for inference": optimized}
