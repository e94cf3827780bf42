/** A job file to begin from. */

import { JOB_FILE_VERSION } from "./schema.ts";

/** The text of `batch --init`; `schema` is where the form is published, for editors. */
export const exampleJobs = (schema: string): string =>
  `# yaml-language-server: $schema=${schema}
# Pruning runs for "secateur batch": every combination of the matrix is a job.
# Relative paths start from this file's folder. JSON will do as well.
version: ${JOB_FILE_VERSION}

# Where results go: a folder for every job, the ledger, and one page over all of them.
out: sweep

# Options of every job: those of "secateur prune", without dashes.
defaults:
  epochs: 2
  # control: true       # fine-tune the unpruned model too, once for all jobs that train alike
  # compensate: false   # what --no-compensate says

# Options by a name, for models, data, budgets and jobs.
templates:
  careful:
    pairs: 16
    lr: 0.01
  # resnet20:
  #   model: resnet20
  #   weights: resnet20.safetensors

matrix:
  model: [default]               # or templates: [resnet20]; default is the embedded model
  # data: [cifar10:cifar]        # or imagefolder:FOLDER_OR_TAR, or a template
  budget: [flops 30%, flops 45.5%, flops 60%]   # params 35%, latency 30%
  criterion: [shapley, l1]
  ratios: [global]
  seed: [0, 1]

# Combinations that are left out: a value or a list of them on some of the axes.
exclude:
  - criterion: l1
    budget: flops 60%

# Jobs beside the matrix.
include:
  - name: careful
    use: careful
    budget: flops 45.5%
    options:
      seed: 3
`;
