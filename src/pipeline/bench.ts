/** `lacuna bench`: how fast a folder decodes, and how much faster than another, in one process. */
import { loadTokenizer } from '../../formats/tokenizer/index.ts';
import { DTYPE_BYTES } from '../core/dtype.ts';
import type { Manifest } from '../core/manifest.ts';
import { bytesPerWeight, choosePrecision } from '../core/precision.ts';
import type { JobOptions } from '../core/progress.ts';
import { type BenchResult, bench as measure } from '../eval/index.ts';
import { denseFfnBytes } from '../plan/index.ts';
import { openSession } from '../runtime/index.ts';
import { readManifest } from './model-folder.ts';
import { readTexts } from './texts.ts';

export type { BenchResult };

export interface BenchOptions extends JobOptions {
  readonly folder: string;
  /** The baseline. */
  readonly against?: string;
  readonly data: readonly string[];
  readonly promptTokens?: number;
  readonly rounds?: number;
  /** Tokens decoded a block; a round has two blocks of each model. */
  readonly stepsPerBlock?: number;
}

/** Times decoding on the tokens of a text: both models are fed the same ones, in interleaved blocks. */
export async function bench(options: BenchOptions): Promise<BenchResult> {
  const { folder, against, data } = options;
  const [texts, tokenizer] = await Promise.all([readTexts(data), loadTokenizer(folder)]);
  const tokens = texts.flatMap(({ content }) => tokenizer.encode(content, { addSpecialTokens: false }));
  const contender = await openSubject(folder, options);
  try {
    if (against === undefined) return await measure([contender], tokens, options);
    const baseline = await openSubject(against, options);
    return await measure([baseline, contender], tokens, options).finally(() => baseline.session.close());
  } finally {
    await contender.session.close();
  }
}

async function openSubject(folder: string, options: BenchOptions) {
  const manifest = await readManifest(folder);
  return { name: folder, session: await openSession(folder, options), ffnBytesPerToken: ffnBytesPerToken(manifest) };
}

/** Bytes of FFN weights read for a decoded token: what the plan expects of its blocks (all fp32), all of the others. */
function ffnBytesPerToken({ spec, plan, precision, blocks: stored }: Manifest): number {
  const blockOptions = stored && { blockSize: stored.blockSize, asymmetric: !stored.symmetric };
  const dense = denseFfnBytes(spec) * (bytesPerWeight(choosePrecision(precision, blockOptions)) / DTYPE_BYTES.float32);
  const blocks = plan?.blocks ?? [];
  const planned = blocks.reduce((sum, { expected }) => sum + expected.bytesPerToken, 0);
  return (spec.numHiddenLayers - blocks.length) * dense + planned;
}
