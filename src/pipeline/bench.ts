/** `lacuna bench`: how fast a folder decodes, and how much faster than another, in one process. */
import { readOnnx } from '../../formats/onnx/index.ts';
import { loadTokenizer } from '../../formats/tokenizer/index.ts';
import { DTYPE_BYTES } from '../core/dtype.ts';
import { LacunaError } from '../core/errors.ts';
import { bytesPerWeight, choosePrecision } from '../core/precision.ts';
import type { JobOptions } from '../core/progress.ts';
import { type BenchResult, bench as measure } from '../eval/index.ts';
import { denseFfnBytes } from '../plan/index.ts';
import { type Engine, type EngineOptions, memoryBandwidth, openDecodingSession } from './engine.ts';
import { baselineOf, type ChosenModel, chooseModel } from './model-folder.ts';
import { findPeers, type PeerOptions, type PeerResult, timePeers } from './peers.ts';
import { readTexts } from './texts.ts';

export interface BenchReport extends BenchResult {
  /** Other programs' figures; null where none were asked for. */
  readonly peers: readonly PeerResult[] | null;
}

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
  /** Other programs to time beside it. */
  readonly peers?: Pick<PeerOptions, 'python' | 'gguf'>;
}

/** Rounds with peers, whose every run loads the model anew, and rounds of ours in each of them. */
const PEER_ROUNDS = 5;
const ROUNDS_BETWEEN = 2;
/** Tokens in the cache when peers decode, and tokens that they decode, when nothing else is said. */
const PEER_PROMPT = 128;
const PEER_STEPS = 96;

/** Times decoding on the tokens of a text: both models are fed the same ones, in interleaved blocks. Then peers, in turn. */
export async function bench(options: BenchOptions): Promise<BenchReport> {
  const { folder, dtype, againstDtype, engine, againstEngine = engine, data } = options;
  const against = baselineOf(options);
  const { file: model } = (await chooseModel(folder, dtype)).model;
  const peers = options.peers && (await findPeers({ folder, model }, options.peers));
  const [texts, tokenizer] = await Promise.all([readTexts(data), loadTokenizer(folder)]);
  const tokens = texts.flatMap(({ content }) => tokenizer.encode(content, { addSpecialTokens: false }));
  const bandwidth = await memoryBandwidth(options);
  const contender = await openSubject(folder, { ...options, dtype, engine });
  try {
    const measured = { ...options, contextLength: contender.contextLength, memoryBandwidth: bandwidth };
    const timed = await timeAgainst(contender, against, tokens, measured, {
      dtype: againstDtype,
      engine: againstEngine,
    });
    if (peers === undefined) return { ...timed, peers: null };
    const { promptTokens = PEER_PROMPT } = options;
    const steps = options.stepsPerBlock ?? PEER_STEPS;
    const between = { threads: options.threads, signal: options.signal, promptTokens, rounds: ROUNDS_BETWEEN };
    const decode = async () => {
      const { subjects } = await measure([contender], tokens, { ...between, stepsPerBlock: Math.ceil(steps / 2) });
      return subjects[0].decodeTokensPerSecond.median;
    };
    const subject = { folder, model, promptTokens, steps, rounds: PEER_ROUNDS, decode };
    return { ...timed, peers: await timePeers(peers, subject, options) };
  } finally {
    await contender.session.close();
  }
}

async function timeAgainst(
  contender: Subject,
  against: string | undefined,
  tokens: readonly number[],
  options: MeasureOptions,
  choice: Pick<SubjectOptions, 'dtype' | 'engine'>,
): Promise<BenchResult> {
  if (against === undefined) return measure([contender], tokens, options);
  const baseline = await openSubject(against, { ...options, ...choice });
  try {
    checkVocabulary(baseline, contender);
    return await measure([baseline, contender], tokens, options);
  } finally {
    await baseline.session.close();
  }
}

type SubjectOptions = EngineOptions & { readonly dtype: string | undefined };

type MeasureOptions = Parameters<typeof measure>[2] & EngineOptions;

async function openSubject(folder: string, options: SubjectOptions) {
  const chosen = await chooseModel(folder, options.dtype);
  const { models, spec } = chosen.manifest;
  const { engine, session } = await openDecodingSession(chosen.modelPath, options);
  const which = [...(models.length === 1 ? [] : [chosen.model.precision]), ...(engine === 'native' ? [engine] : [])];
  const name = [folder, ...which].join(' ');
  const { vocabSize, contextLength } = spec;
  const isScreened = engine === 'native' && (await hasScreenedHead(chosen.modelPath));
  return { name, session, vocabSize, contextLength, ...bytesPerToken(chosen, isScreened) };
}

/** Whether the native core finds the likeliest tokens by half of each of the head's codes (docs/native.md). */
async function hasScreenedHead(modelPath: string): Promise<boolean> {
  const { nodes } = await readOnnx(modelPath);
  return nodes.some(({ opType, outputs }) => /^NormProduct_int8/.test(opType) && outputs.includes('logits'));
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
function bytesPerToken({ manifest: { spec, plan }, model }: ChosenModel, isScreened: boolean) {
  const stored = model.blocks && { blockSize: model.blocks.blockSize, asymmetric: !model.blocks.symmetric };
  const { precision, vocabulary } = model;
  const layerBytes = bytesPerWeight(choosePrecision(precision, stored));
  const storedHead = bytesPerWeight(choosePrecision(vocabulary, vocabulary.startsWith('int') ? stored : undefined));
  const headBytes = isScreened ? storedHead - 0.5 : storedHead;
  const blocks = plan?.blocks ?? [];
  const planned = blocks.reduce((sum, { expected }) => sum + expected.bytesPerToken, 0);
  const unplanned = (spec.numHiddenLayers - blocks.length) * denseFfnBytes(spec);
  const ffnBytesPerToken = ((planned + unplanned) * layerBytes) / DTYPE_BYTES.float32;
  // Query and output, key and value.
  const attention = 2 * spec.hiddenSize * spec.headDim * (spec.numAttentionHeads + spec.numKeyValueHeads);
  const others = spec.numHiddenLayers * attention * layerBytes + spec.vocabSize * spec.hiddenSize * headBytes;
  return { ffnBytesPerToken, weightBytesPerToken: ffnBytesPerToken + others };
}
