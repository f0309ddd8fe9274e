/** README.md of an output folder: what it is, what was done to it, and how to load it. */
import { percent, sumBy } from '../../core/figures.ts';
import type { ManifestModel } from '../../core/manifest.ts';
import type { ModelSpec } from '../../core/model.ts';
import type { Plan } from '../../core/plan.ts';
import { FLOATS, type Precision, type Rounding, vocabularyOf } from '../../core/precision.ts';
import { TARGETS } from '../../core/target.ts';

export interface CardContent {
  readonly spec: ModelSpec;
  readonly plan: Plan | null;
  /** The default one first. */
  readonly models: readonly CardModel[];
}

interface CardModel extends Pick<ManifestModel, 'file' | 'rounding' | 'calibratedOn' | 'onnxruntime'> {
  readonly precision: Precision;
}

/** Markdown with the front matter for the Hub. */
export function modelCard({ spec, plan, models }: CardContent): string {
  return `---
library_name: transformers.js
pipeline_tag: text-generation
tags: [onnx, onnxruntime, lacuna]
---

# ${spec.architecture}, ${plan === null || plan.target === null ? 'dense' : 'sparse'}, for ONNX Runtime

${spec.numHiddenLayers} layers, hidden size ${spec.hiddenSize}, FFN size ${spec.intermediateSize}, vocabulary ${spec.vocabSize}, context ${spec.contextLength}.
Opset 21, IR 10.

${models.map(modelText).join('\n')}

${plan === null ? denseText(models) : planText(plan)}

    lacuna run . "Once upon a time"
${models.length === 1 ? '' : CHOOSING}
A model takes \`input_ids\`, \`attention_mask\` and \`past_key_values.*\`, and gives \`logits\` and \`present.*\`.
Positions are counted from the mask: rows are unpadded or padded on the right.

Made by Lacuna; \`lacuna.json\` holds the facts and the checksum of each file.
`;
}

const CHOOSING = `
\`onnx/model.onnx\` is what hosts open by default. Others are chosen by \`--dtype\`, by transformers.js' \`dtype\` (the end of the
file's name), by optimum's \`file_name\`, by \`model.decoder.filename\` in \`genai_config.json\`.
`;

const ROUNDED_BY: Readonly<Record<Rounding, string>> = {
  gptq: 'rounded by GPTQ, so that errors compensate each other',
  search: 'rounding errors were weighed by the sizes of their inputs',
};

function modelText({ file, precision, rounding, calibratedOn = [], onnxruntime }: CardModel): string {
  const runtime = `ONNX Runtime ${onnxruntime.replace('>=', '')} or newer`;
  const texts = calibratedOn.map((text) => `${text.tokens} tokens of ${text.name}`).join(' and ');
  const rounded = rounding === undefined ? '' : `; ${ROUNDED_BY[rounding]} on ${texts}`;
  return `- \`${file}\`, ${precision.name}: ${weightsText(precision)}${rounded}; ${runtime}`;
}

function weightsText(precision: Precision): string {
  const { floats, linear } = precision;
  switch (linear.kind) {
    case 'float':
    case 'transposed':
      return `weights and cache are ${floats}`;
    case 'widened':
      return `weights are ${linear.dtype}, which a runtime widens when it loads them; the cache is ${floats}`;
    case 'blocks': {
      const blocks = `blocks of ${linear.blockSize} with ${linear.symmetric ? 'no zero points' : 'zero points'}`;
      return `weights are ${linear.bits}-bit in ${blocks}, embedding and head ${vocabularyOf(precision)}; the cache is ${floats}`;
    }
  }
}

function denseText(models: readonly CardModel[]): string {
  const rounded = models.filter(({ precision }) => precision.name !== FLOATS);
  if (rounded.length === 0) return 'Nothing was left out: the logits are those of the checkpoint to rounding.';
  const [{ precision }] = rounded;
  const command =
    rounded.length < models.length
      ? `lacuna eval . --dtype ${precision.name} --against-dtype ${FLOATS}`
      : 'lacuna eval . --against FP32-DIR';
  return `Where weights were rounded, the model's output changes; \`${command}\` measures by how much.`;
}

function planText(plan: Plan): string {
  const { preset, target, blocks } = plan;
  if (target === null) return mixText(plan);
  const what = `about ${percent(target.value, 0)} of the ${TARGETS[target.kind].perToken} per token`;
  return [
    `Sparsified with the \`${preset}\` preset: ${what} (${blocks.length} blocks planned).`,
    ...(plan.prefill === 'dense' ? ['Calls with several tokens, as prompts are read, leave out nothing.'] : []),
    'The operators of the `lacuna` domain carry portable bodies: a stock ONNX Runtime runs the file as it is.',
    "This changes the model's output; `lacuna eval DIR --against DENSE` measures by how much.",
  ].join('\n');
}

/** Nothing is left out: blocks are stored in precisions of their own. */
function mixText({ blocks }: Plan): string {
  const counts = sumBy(blocks.flatMap(({ dtype }) => (dtype === undefined ? [] : [[dtype, 1] as const])));
  const stored = Object.entries(counts).map(([dtype, count]) => `${count} in ${dtype}`);
  return [
    `Every block of attention and FFN is stored in the precision that the plan chose for it: ${stored.join(', ')}.`,
    "This changes the model's output; `lacuna eval . --against FP32-DIR` measures by how much.",
  ].join('\n');
}
