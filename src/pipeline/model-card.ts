/** README.md of an output folder: what it is, what was done to it, and how to load it. */
import type { ModelSpec } from '../core/model.ts';
import type { Plan } from '../core/plan.ts';
import type { Precision, WeightStorage } from '../core/precision.ts';

export interface CardContent {
  readonly spec: ModelSpec;
  readonly plan: Plan | null;
  readonly precision: Precision;
  /** The oldest ONNX Runtime that loads the folder, as ">=1.21". */
  readonly onnxruntime: string;
}

/** Markdown with the front matter that the Hub reads. */
export function modelCard({ spec, plan, precision, onnxruntime }: CardContent): string {
  return `---
library_name: transformers.js
pipeline_tag: text-generation
tags: [onnx, onnxruntime, lacuna]
---

# ${spec.architecture}, ${plan === null ? 'dense' : 'sparse'}, for ONNX Runtime

${spec.numHiddenLayers} layers, hidden size ${spec.hiddenSize}, FFN size ${spec.intermediateSize}, vocabulary ${spec.vocabSize}, context ${spec.contextLength}.
${weightsText(precision)}; opset 21, IR 10; ONNX Runtime ${onnxruntime.replace('>=', '')} or newer.

${plan === null ? denseText(precision) : planText(plan)}

    lacuna run . "Once upon a time"

\`onnx/model.onnx\` takes \`input_ids\`, \`attention_mask\` and \`past_key_values.*\`, and gives \`logits\` and \`present.*\`.
Positions are counted from the mask: rows are unpadded or padded on the right.

Made by Lacuna; \`lacuna.json\` holds the facts and the checksum of each file.
`;
}

function weightsText({ floats, linear, vocabulary }: Precision): string {
  if (linear.kind !== 'blocks') return `Weights and cache are ${floats}`;
  const zeroPoints = linear.symmetric ? 'no zero points' : 'zero points';
  return `Weights are ${bitsOf(linear)}-bit, embedding and head ${bitsOf(vocabulary)}-bit, in blocks of ${linear.blockSize} with ${zeroPoints}; the cache is ${floats}`;
}

function bitsOf(storage: WeightStorage): number | undefined {
  return storage.kind === 'blocks' ? storage.bits : undefined;
}

function denseText({ name }: Precision): string {
  if (name === 'fp32') return 'Nothing was left out: the logits are those of the checkpoint to rounding.';
  return "Weights were rounded, which changes the model's output; `lacuna eval DIR --against FP32-DIR` measures by how much.";
}

function planText(plan: Plan): string {
  const what =
    plan.target.kind === 'density'
      ? `about ${percent(plan.target.value)} of the FFN neurons are computed per token`
      : `about ${percent(plan.target.value)} of the FFN blocks are skipped per token`;
  return [
    `Sparsified with the \`${plan.preset}\` preset: ${what} (${plan.blocks.length} blocks planned).`,
    'The operators of the `lacuna` domain carry portable bodies: a stock ONNX Runtime runs the file as it is.',
    "This changes the model's output; `lacuna eval DIR --against DENSE` measures by how much.",
  ].join('\n');
}

function percent(share: number): string {
  return `${(100 * share).toFixed(0)} %`;
}
