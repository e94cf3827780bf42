import type { NodeOf, Operator } from "./operator.ts";

/** Channels side by side: channel c of an input goes with the output's at the input's offset + c. */
export const concat: Operator<NodeOf<"concat">> = {
  trainable: () => [],
  buffers: () => [],
  // Several inputs: a gate after it cannot stand for one before it.
  keepsZero: false,
  shape(_node, inputs) {
    const [[, ...area]] = inputs;
    const odd = inputs.find(([, ...other]) => other.join() !== area.join());
    if (odd !== undefined) {
      throw new Error(
        `joins [${inputs[0].join(", ")}] and [${
          odd.join(", ")
        }], which differ in more than channels`,
      );
    }
    return [inputs.reduce((sum, [channels]) => sum + channels, 0), ...area];
  },
  macs: () => 0,
  channels(node, inputs, _output, rules) {
    let offset = 0;
    node.inputs.forEach((value, index) => {
      const [channels] = inputs[index];
      for (let c = 0; c < channels; c++) rules.couple(value, c, node.output, offset + c);
      offset += channels;
    });
  },
  cut: (node) => node,
};
