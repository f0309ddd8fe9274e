/** `lacuna bench`: how fast a folder decodes, and how much faster than another, in one process. */
import { loadTokenizer } from '../../formats/tokenizer/index.ts';
import { DTYPE_BYTES } from '../core/dtype.ts';
import { LacunaError } from '../core/errors.ts';
import { bytesPerWeight, choosePrecision } from '../core/precision.ts';
import type { JobOptions } from '../core/progress.ts';
import { type BenchResult, bench as measure } from '../eval/index.ts';
import { denseFfnBytes } from '../plan/index.ts';
import { type Engine, type EngineOptions, memoryBandwidth, openDecodingSession } from './engine.ts';
import { baselineOf, type ChosenModel, chooseModel } from './model-folder.ts';
import { readTexts } from './texts.ts';

export type { BenchResult };

export interface BenchOptions extends JobOptions, Pick<EngineOptions, 'engine' | 'nativeFolder'> {
  readonly folder: string;
  /** The baseline. */
  readonly against?: string;
  /** Which of the folder's precisions, and of the baseline's; the first by default. */
  readonly dtype?: string;
  readonly againstDtype?: string;
  /** What decodes the baseline; as the other by default. */
  readonly againstEngine?: Engine;
  readonly data: readonly string[];
  readonly promptTokens?: number;
  readonly rounds?: number;
  /** Tokens decoded a block; a round has two blocks of each model. */
  readonly stepsPerBlock?: number;
}

/** Times decoding on the tokens of a text: both models are fed the same ones, in interleaved blocks. */
export async function bench(options: BenchOptions): Promise<BenchResult> {
  const { folder, dtype, againstDtype, engine, againstEngine = engine, data } = options;
  const against = baselineOf(options);
  const [texts, tokenizer] = await Promise.all([readTexts(data), loadTokenizer(folder)]);
  const tokens = texts.flatMap(({ content }) => tokenizer.encode(content, { addSpecialTokens: false }));
  const bandwidth = await memoryBandwidth(options);
  const contender = await openSubject(folder, { ...options, dtype, engine });
  try {
    const measured = { ...options, contextLength: contender.contextLength, memoryBandwidth: bandwidth };
    if (against === undefined) return await measure([contender], tokens, measured);
    const baseline = await openSubject(against, { ...options, dtype: againstDtype, engine: againstEngine });
    try {
      checkVocabulary(baseline, contender);
      return await measure([baseline, contender], tokens, measured);
    } finally {
      await baseline.session.close();
    }
  } finally {
    await contender.session.close();
  }
}

async function openSubject(folder: string, options: EngineOptions & { readonly dtype: string | undefined }) {
  const chosen = await chooseModel(folder, options.dtype);
  const { models, spec } = chosen.manifest;
  const { engine, session } = await openDecodingSession(chosen.modelPath, options);
  const which = [...(models.length === 1 ? [] : [chosen.model.precision]), ...(engine === 'native' ? [engine] : [])];
  const name = [folder, ...which].join(' ');
  const { vocabSize, contextLength } = spec;
  return { name, session, vocabSize, contextLength, ...bytesPerToken(chosen) };
}

type Subject = Awaited<ReturnType<typeof openSubject>>;

/** Both are fed the tokens of one text, which another vocabulary gives another meaning or none. */
function checkVocabulary(baseline: Subject, contender: Subject): void {
  if (baseline.vocabSize === contender.vocabSize) return;
  throw new LacunaError(
    'mismatch',
    `${baseline.name} has a vocabulary of ${baseline.vocabSize}, ${contender.name} one of ${contender.vocabSize}`,
    { hint: 'Compare folders made from the same checkpoint.' },
  );
}

/**
 * Bytes of weights that are read for a decoded token. Of FFNs: what the plan, which reckons with float32, expects of its
 * blocks, and all of the others.
 */
function bytesPerToken({ manifest: { spec, plan }, model }: ChosenModel) {
  const stored = model.blocks && { blockSize: model.blocks.blockSize, asymmetric: !model.blocks.symmetric };
  const { precision, vocabulary } = model;
  const layerBytes = bytesPerWeight(choosePrecision(precision, stored));
  const headBytes = bytesPerWeight(choosePrecision(vocabulary, vocabulary.startsWith('int') ? stored : undefined));
  const blocks = plan?.blocks ?? [];
  const planned = blocks.reduce((sum, { expected }) => sum + expected.bytesPerToken, 0);
  const unplanned = (spec.numHiddenLayers - blocks.length) * denseFfnBytes(spec);
  const ffnBytesPerToken = ((planned + unplanned) * layerBytes) / DTYPE_BYTES.float32;
  // Query and output, key and value.
  const attention = 2 * spec.hiddenSize * spec.headDim * (spec.numAttentionHeads + spec.numKeyValueHeads);
  const others = spec.numHiddenLayers * attention * layerBytes + spec.vocabSize * spec.hiddenSize * headBytes;
  return { ffnBytesPerToken, weightBytesPerToken: ffnBytesPerToken + others };
}
