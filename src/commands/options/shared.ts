/** Options that several commands share. */

import { availableParallelism } from "node:os";
import {
  between,
  deviceChoice,
  flag,
  oneOf,
  oneOfInstead,
  perColour,
  pictureShape,
  positive,
  side,
  text,
  whole,
} from "./values.ts";

/** Which model. */
export const MODEL_OPTIONS = {
  model: {
    schema: text("a model's name").optional(),
    value: "name",
    help: "architecture of the weights, such as resnet56, or an ONNX file; not needed for " +
      "secateur's own files",
  },
  weights: {
    schema: text("a file").optional(),
    value: "file",
    help: "PyTorch or safetensors checkpoint, ONNX model, or a model that secateur wrote",
  },
  inputShape: {
    schema: pictureShape().optional(),
    value: "CxHxW",
    help: "channels, height and width for an ONNX file that leaves them open, such as 3x224x224 " +
      "(default: as --crop says, or else --resize)",
  },
} as const;

/** Which pictures, and how they become inputs. */
export const DATA_OPTIONS = {
  data: {
    schema: text("a data set").optional(),
    value: "spec",
    help: "cifar10:FOLDER, cifar10:download, imagefolder:FOLDER_OR_TAR, generated[:SEED], or, " +
      "without classes, pictures:FOLDER_OR_TAR_OR_PATTERN",
  },
  train: {
    schema: text("a folder or a tar").optional(),
    value: "folder",
    help: "folder or tar of training pictures, one folder per class; with --val in place of --data",
  },
  val: {
    schema: text("a folder or a tar").optional(),
    value: "folder",
    help: "folder or tar of test pictures, one folder per class",
  },
  limit: {
    schema: whole(1, 10_000_000).optional(),
    value: "count",
    help: "take only the first pictures of each class",
  },
  strict: {
    schema: flag(),
    help: "refuse files that cannot be read as pictures instead of leaving them out",
  },
  preset: {
    schema: oneOf("imagenet", "cifar").optional(),
    value: "name",
    help:
      "how pictures become inputs: imagenet (resize 256, crop 224, its mean and deviation) or " +
      "cifar (32, 32, CIFAR-10's); the options below win over it (default: as the model's file " +
      "says, or else imagenet's mean and deviation alone)",
  },
  resize: {
    schema: side().optional(),
    value: "pixels",
    help: "scale pictures so that their shorter side is this long",
  },
  crop: {
    schema: side().optional(),
    value: "pixels",
    help: "take this square from the middle; from 64 pixels on, training takes random parts",
  },
  mean: {
    schema: perColour(0, 1).optional(),
    value: "r,g,b",
    help: "mean of each colour, of pixels from 0 to 1, or one number for all or for grey",
  },
  std: {
    schema: perColour(0.001, 10).optional(),
    value: "r,g,b",
    help: "deviation of each colour, or one number",
  },
  channels: {
    schema: oneOfInstead(["rgb", "bgr", "grey"], {
      inner: "which channels may go is said with --scope",
      all: "which channels may go is said with --scope",
    }).optional(),
    value: "order",
    help: "order in which the model takes colours: rgb (default), bgr, or grey for one channel " +
      "(the default for a model that takes one)",
  },
  labels: {
    schema: text("a file").optional(),
    value: "file",
    help: "class names by index, one a line or JSON; gives class folders the model's labels",
  },
} as const;

/** How to compute. */
export const COMPUTE_OPTIONS = {
  dtype: {
    schema: oneOf("auto", "f32", "f32-fast", "bf16").default("auto"),
    value: "type",
    help: "type of activations: f32; f32-fast, f32 with convolutions by the fastest method of " +
      "f32's order of error; bf16; or auto, bf16 with AMX or AVX-512 (default)",
  },
  threads: {
    schema: whole(1, 1024).optional(),
    value: "count",
    help: `threads that compute; results do not depend on it (default ${availableParallelism()})`,
  },
} as const;

export const DEVICE_OPTION = {
  device: {
    schema: deviceChoice().optional(),
    value: "device",
    help: "what computes: cpu; cuda or cuda:N, an NVIDIA GPU through the plugin that " +
      "`deno task build --cuda` makes; or auto, the CPU as long as GPUs are not measured (default)",
  },
} as const;

export const JSON_OPTION = {
  json: { schema: flag(), help: "write JSON lines to standard output and nothing else there" },
} as const;

/** A run that trains: what it draws, where it goes on, what it writes and how it computes. */
export const RUN_OPTIONS = {
  seed: {
    schema: whole(0, 0xffffffff).default(0),
    value: "number",
    help: "seed of everything that is random (default 0)",
  },
  resume: { schema: flag(), help: "go on from the last checkpoint in the output folder" },
  out: {
    schema: text("a folder").default("out"),
    value: "folder",
    help: "where everything is written (default out)",
  },
  ...COMPUTE_OPTIONS,
  ...DEVICE_OPTION,
} as const;

export const HOLD_OUT_OPTION = {
  holdOut: {
    schema: whole(0, 1_000_000).optional(),
    value: "count",
    help: "training pictures of each class to hold out for every choice " +
      "(default: a tenth of the smallest class, at most 500)",
  },
} as const;

/** Options of a training run that pruning's fine-tuning has as well; defaults are the caller's. */
export const TRAINING_OPTIONS = {
  batch: {
    schema: whole(1, 65536).default(128),
    value: "images",
    help: "pictures per training step (default 128)",
  },
  weightDecay: {
    schema: between(0, 1).default(5e-4),
    value: "number",
    help: "weight decay, not on batch norm and biases (default 0.0005)",
  },
  clip: {
    schema: between(0, 1e6).default(5),
    value: "norm",
    help:
      "largest norm of a step's gradients; longer ones are shortened to it (default 5; 0: none)",
  },
  ema: {
    schema: between(0.5, 0.99999).optional(),
    value: "decay",
    help: "keep a moving average of the weights, with a decay such as 0.999, which competes with " +
      "them on held-out pictures",
  },
  mixup: {
    schema: positive(100).optional(),
    value: "alpha",
    help: "blend training pictures in pairs, with shares from Beta(alpha, alpha), such as 0.2",
  },
  cutmix: {
    schema: positive(100).optional(),
    value: "alpha",
    help:
      "exchange rectangles of training pictures in pairs, as large as Beta(alpha, alpha) says, " +
      "such as 1; with --mixup, batches take turns at random",
  },
  warmup: {
    schema: between(0, 1000).optional(),
    value: "epochs",
    help: "epochs of linear warm-up (default 1, or a quarter of fewer than 4)",
  },
  ...HOLD_OUT_OPTION,
} as const;

/** The loss of training, beside --distill, whose default is the command's own. */
export const LOSS_OPTIONS = {
  temperature: {
    schema: positive(1000).default(4),
    value: "number",
    help: "temperature of the teacher (default 4)",
  },
  smoothing: {
    schema: between(0, 0.9).default(0),
    value: "share",
    help: "label smoothing (default 0)",
  },
} as const;
