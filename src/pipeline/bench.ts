/** `lacuna bench`: how fast a folder decodes, and how much faster than another, in one process. */
import * as z from 'zod';
import { readOnnx } from '../../formats/onnx/index.ts';
import { loadTokenizer } from '../../formats/tokenizer/index.ts';
import { type CacheUse, isNarrow, isOurs } from '../core/cache-format.ts';
import { DTYPE_BYTES } from '../core/dtype.ts';
import { LacunaError } from '../core/errors.ts';
import { denseFfnBytes } from '../core/ffn-bytes.ts';
import { BLOCK_PARTS, type BlockPart, blockName } from '../core/model.ts';
import { door, optionsOf, path } from '../core/options.ts';
import { bytesPerWeight, choosePrecision, type Precision, precisionNamed } from '../core/precision.ts';
import { type BenchResult, countsOf, meanCachedTokens, bench as measure } from '../eval/index.ts';
import { operatorOf } from '../ops/index.ts';
import { attentionWeights, stepTime } from '../plan/index.ts';
import { type DecodingOptions, type Engine, memoryBandwidth, openDecodingSession } from './engine/engine.ts';
import { baselineOf, type ChosenModel, calledOperators, chooseModel } from './folder/model-folder.ts';
import { type CostsOptions, costsOfHost } from './host/costs.ts';
import { COMPARED, COSTS, type ComparedOptions, count } from './options.ts';
import { findPeers, PEERS, type PeerResult, timePeers } from './peers/peers.ts';
import { encodeTexts, pinnedTexts } from './texts/texts.ts';

export interface BenchReport extends BenchResult {
  /** Other programs' figures; null if none were asked for. */
  readonly peers: readonly PeerResult[] | null;
}

export const benchOptions = optionsOf(
  { folder: path },
  {
    ...COMPARED,
    ...COSTS,
    /** Tokens in the cache when decoding starts. */
    promptTokens: count,
    /** How often sessions are opened anew. */
    repeats: count,
    /** Timed rounds of each repeat. */
    rounds: count,
    /** Tokens decoded a block; a round has two blocks of each model. */
    stepsPerBlock: count,
    /** Seconds. With two models, repeats go on until one of the models is surely faster, or this time has passed. */
    untilSure: z.number().positive(),
    /** Other programs to time beside it. */
    peers: optionsOf({}, PEERS),
  },
);

export interface BenchOptions extends ComparedOptions, z.infer<typeof benchOptions> {}

/** Rounds with peers, and our rounds within each of them. A peer loads the model anew in every run. */
const PEER_ROUNDS = 5;
const ROUNDS_BETWEEN = 2;
/** Defaults for peers: tokens in the cache, and tokens to decode. */
const PEER_PROMPT = 128;
const PEER_STEPS = 96;

/**
 * Times decoding on the tokens of a text: both models are fed the same ones, in interleaved blocks. Then peers, in turn.
 *
 * @example const { speedup } = await bench({ folder: './sparse', against: './dense' });
 */
export const bench = door('bench', benchOptions, benchChecked);

/** The same by options that were checked. */
export async function benchChecked(options: BenchOptions): Promise<BenchReport> {
  const { folder, dtype, engine, againstEngine = engine } = options;
  const { data = pinnedTexts('test') } = options;
  const against = baselineOf(options);
  if (against === undefined && options.untilSure !== undefined)
    throw new LacunaError('usage', '--until-sure is about which of two models is faster, and there is one', {
      hint: 'Name the other one by --against.',
    });
  const contender = await chooseSubject(folder, { ...options, dtype, engine });
  const baseline =
    against &&
    (await chooseSubject(against.folder, {
      ...options,
      dtype: against.dtype,
      engine: againstEngine,
      cache: options.againstCache,
      attended: options.againstAttended,
    }));
  if (baseline !== undefined) checkVocabulary(baseline, contender);
  const { model } = contender;
  const peers = options.peers && (await findPeers({ folder, model }, options.peers));
  // One run of tokens from the beginning of the first text, because decoding runs through consecutive tokens.
  const tokens = (await encodeTexts(data, await loadTokenizer(folder))).flatMap((text) => text.tokens);
  const timed = await measure(baseline === undefined ? [contender.open] : [baseline.open, contender.open], tokens, {
    ...options,
    contextLength: contender.contextLength,
    memoryBandwidth: await memoryBandwidth(options),
  });
  if (peers === undefined) return { ...timed, peers: null };
  const { promptTokens = PEER_PROMPT, stepsPerBlock: steps = PEER_STEPS, threads, signal } = options;
  const counts = { promptTokens, repeats: 1, rounds: ROUNDS_BETWEEN, stepsPerBlock: Math.ceil(steps / 2) };
  const decode = async () => {
    const { subjects } = await measure([contender.open], tokens, { threads, signal, ...counts });
    return subjects[0].decodeTokensPerSecond.median;
  };
  const subject = { folder, model, promptTokens, steps, rounds: PEER_ROUNDS, decode };
  return { ...timed, peers: await timePeers(peers, subject, options) };
}

type Subject = Awaited<ReturnType<typeof chooseSubject>>;

/** A folder's model by its name, with its .onnx file relative to the folder, and how it is opened. */
async function chooseSubject(
  folder: string,
  options: Omit<BenchOptions, 'dtype'> & DecodingOptions & { readonly dtype: string | undefined },
) {
  const chosen = await chooseModel(folder, options.dtype);
  const { model, modelPath, manifest } = chosen;
  const { models, spec } = manifest;
  const name = [folder, ...(models.length === 1 ? [] : [model.precision]), ...cacheNames(options)].join(' ');
  const hasScreen = await hasScreenedHead(modelPath);
  let { engine } = options;
  let operatorSet = calledOperators(chosen);
  const open = async () => {
    const opened = await openDecodingSession(modelPath, { ...options, engine, operatorSet });
    // If the native core has refused a model once, it is not tried again. That its kernels are of another version is said
    // once too.
    engine = opened.engine;
    operatorSet = undefined;
    const isNative = engine === 'native';
    const bytes = bytesPerToken(chosen, isNative && hasScreen);
    // The costs of a host are those of caches in fp32 that are read as a whole.
    const expectedStep = isOurs(options) ? undefined : await stepExpected(chosen, engine, options);
    return { name: isNative ? `${name} native` : name, ...opened, ...bytes, expectedStep };
  };
  return { name, model: model.file, vocabSize: spec.vocabSize, contextLength: spec.contextLength, open };
}

/** What a subject's name says of its cache. */
const cacheNames = ({ cache, attended }: CacheUse): string[] => [
  ...(isNarrow(cache) ? [`cache ${cache}`] : []),
  ...(attended === undefined ? [] : [`attended ${attended}`]),
];

/** Seconds of a decode step by the costs of the host; undefined where they are not known. */
async function stepExpected(
  { manifest: { spec, plan }, model }: ChosenModel,
  kind: Engine,
  options: CostsOptions & Pick<BenchOptions, 'promptTokens' | 'rounds' | 'stepsPerBlock'>,
): Promise<number | undefined> {
  const costs = await costsOfHost(kind, options);
  const stored = { kind, precision: storedPrecision(model) };
  return stepTime(costs, spec, stored, plan?.blocks ?? [], meanCachedTokens(countsOf(options)));
}

/** Whether the native core uses half of each code of the head to find the likeliest tokens (docs/native.md). */
async function hasScreenedHead(modelPath: string): Promise<boolean> {
  const { nodes } = await readOnnx(modelPath);
  return nodes.some((node) => {
    const { storage } = node.attributes;
    const isInt8 = storage?.kind === 'string' && storage.value === 'int8';
    return operatorOf(node) === 'NormProduct' && isInt8 && node.outputs.includes('logits');
  });
}

/** Both models read the tokens of one text. In another vocabulary they would mean something else or nothing. */
function checkVocabulary(baseline: Subject, contender: Subject): void {
  if (baseline.vocabSize === contender.vocabSize) return;
  throw new LacunaError(
    'mismatch',
    `${baseline.name} has a vocabulary of ${baseline.vocabSize}, ${contender.name} one of ${contender.vocabSize}`,
    { hint: 'Compare folders made from the same checkpoint.' },
  );
}

/** Bytes of weights read for a decoded token: of the plan's FFNs what it expects, converted from float32; else all. */
function bytesPerToken({ manifest: { spec, plan }, model }: ChosenModel, isScreened: boolean) {
  const precision = storedPrecision(model);
  const layerBytes = bytesPerWeight(precision);
  const storedHead = bytesPerWeight({ ...precision, linear: precision.vocabulary });
  const headBytes = isScreened ? storedHead - 0.5 : storedHead;
  const whole: Readonly<Record<BlockPart, number>> = {
    attention: DTYPE_BYTES.float32 * attentionWeights(spec),
    ffn: denseFfnBytes(spec),
  };
  const blocks = new Map(plan?.blocks.map((block) => [block.block, block]));
  const bytes: Record<BlockPart, number> = { attention: 0, ffn: 0 };
  for (let layer = 0; layer < spec.numHiddenLayers; layer++)
    for (const part of BLOCK_PARTS) {
      const { dtype, expected } = blocks.get(blockName(layer, part)) ?? {};
      const stored = dtype === undefined ? layerBytes : bytesPerWeight(precisionNamed(dtype));
      bytes[part] += ((expected?.bytesPerToken ?? whole[part]) * stored) / DTYPE_BYTES.float32;
    }
  const head = spec.vocabSize * spec.hiddenSize * headBytes;
  return { ffnBytesPerToken: bytes.ffn, weightBytesPerToken: bytes.ffn + bytes.attention + head };
}

/** How a model's weights are stored, with the blocks that it was given. */
function storedPrecision({ precision, vocabulary, blocks }: ChosenModel['model']): Precision {
  const stored = blocks && { blockSize: blocks.blockSize, asymmetric: !blocks.symmetric };
  const { linear } = choosePrecision(vocabulary, vocabulary.startsWith('int') ? stored : undefined);
  return { ...choosePrecision(precision, stored), vocabulary: linear };
}
