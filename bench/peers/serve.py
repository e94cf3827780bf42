"""One PyTorch contestant, driven by lines of JSON; bench/peer_process.ts is the other end.

    python serve.py MODULE THREADS

A module has contestant(parameters), which returns a Contestant. Requests: {"do": "open", "parameters":
{...}} once, then {"do": "measure"} any number of times. Replies: {"result": ...} or {"error": ...}.
"""

import importlib
import json
import os
import sys
import traceback

import torch


def answer(request, module, state):
    if request["do"] == "open":
        state["contestant"] = contestant = module.contestant(request["parameters"])
        return {"about": contestant.about, "tried": contestant.tried}
    return {"figure": state["contestant"].measure()}


def main():
    # Replies keep the real standard output to themselves; libraries print to standard error.
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    torch.set_num_threads(int(sys.argv[2]))
    torch.set_num_interop_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    module = importlib.import_module(sys.argv[1])
    state = {}
    for line in sys.stdin:
        try:
            reply = {"result": answer(json.loads(line), module, state)}
        except Exception as error:
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")


main()
