/** README.md of an output folder: what it is, what was done to it, and how to load it. */
import { percent, sumBy } from '../../core/figures.ts';
import type { ManifestModel } from '../../core/manifest.ts';
import type { ModelSpec } from '../../core/model.ts';
import { type AimedPlan, leavesOut, mixOf, type Plan } from '../../core/plan.ts';
import { FLOATS, listed, type Precision, type Rounding, vocabularyOf } from '../../core/precision.ts';
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

# ${spec.architecture}, ${leavesOut(plan) ? 'sparse' : 'dense'}, for ONNX Runtime

${spec.numHiddenLayers} layers, hidden size ${spec.hiddenSize}, FFN size ${spec.intermediateSize}, vocabulary ${spec.vocabSize}, context ${spec.contextLength}.
Opset 21, IR 10.

${models.map((model) => modelText(model, plan)).join('\n')}

${leavesOut(plan) ? planText(plan) : denseText(models)}

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

function modelText(model: CardModel, plan: Plan | null): string {
  const { file, precision, rounding, calibratedOn = [], onnxruntime } = model;
  const runtime = `ONNX Runtime ${onnxruntime.replace('>=', '')} or newer`;
  const texts = calibratedOn.map((text) => `${text.tokens} tokens of ${text.name}`).join(' and ');
  const rounded = rounding === undefined ? '' : `; ${ROUNDED_BY[rounding]} on ${texts}`;
  const [name, weights] = storedText(precision, plan);
  return `- \`${file}\`, ${name}: ${weights}${rounded}; ${runtime}`;
}

/** What a model is called and how its weights are stored: all alike, or by block as a plan says. */
function storedText(precision: Precision, plan: Plan | null): readonly [name: string, weights: string] {
  const mix = plan === null ? [] : [...mixOf(plan).values()];
  if (mix.length === 0) return [precision.name, weightsText(precision)];
  const counts = Object.entries(sumBy(mix.map(({ name }) => [name, 1])));
  const stored = counts.map(([dtype, count]) => `${count} in ${dtype}`);
  const rest = `embedding and head ${vocabularyOf(precision)}; the cache is ${precision.floats}`;
  return [
    listed(
      counts.map(([dtype]) => dtype),
      'and',
    ),
    `blocks of attention and FFN are stored ${listed(stored, 'and')}, ${rest}`,
  ];
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

function planText({ preset, target, blocks, prefill }: AimedPlan): string {
  const what = `about ${percent(target.value, 0)} of the ${TARGETS[target.kind].perToken} per token`;
  return [
    `Sparsified with the \`${preset}\` preset: ${what} (${blocks.length} blocks planned).`,
    ...(prefill === 'dense' ? ['Calls with several tokens, as prompts are read, leave out nothing.'] : []),
    'The operators of the `lacuna` domain carry portable bodies: a stock ONNX Runtime runs the file as it is.',
    "This changes the model's output; `lacuna eval DIR --against DENSE` measures by how much.",
  ].join('\n');
}
