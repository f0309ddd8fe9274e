/** A model folder opened for decoding: tokens in, logits and a longer cache out. It knows no architecture. */
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { invalidArgument, LacunaError, throwIfAborted } from '../core/errors.ts';
import type { ModelBeside, RuntimeTensor } from '../core/runner.ts';
import type { KvCache, Session, Step, StepOptions } from '../core/session.ts';
import { type ModelSource, type OrtSession, openOrtSession, type SessionOptions } from './ort-session.ts';
import { type CacheInput, readSignature, type Signature } from './signature.ts';
import { emptyTensor } from './tensors.ts';

/**
 * Opens a model folder (with onnx/model.onnx or model.onnx), an .onnx file, or bytes that refer to files. Throws
 * `not-found` if it does not exist, `runtime` if ONNX Runtime refuses it, `unsupported` if it is not a decoder.
 */
export async function openSession(model: string | ModelBeside, options: SessionOptions = {}): Promise<Session> {
  const source: ModelSource =
    typeof model === 'string' ? { kind: 'file', path: await findModel(model) } : { kind: 'beside', ...model };
  const session = await openOrtSession(source, options);
  try {
    return sessionOf(session, readSignature(session.metadata));
  } catch (error) {
    await session.close();
    throw error;
  }
}

/** The .onnx file of a folder or file name. */
export async function findModel(folderOrFile: string): Promise<string> {
  const kind = await kindOf(folderOrFile);
  if (kind === 'file') return folderOrFile;
  const candidates = [path.join(folderOrFile, 'onnx', 'model.onnx'), path.join(folderOrFile, 'model.onnx')];
  for (const candidate of candidates) if ((await kindOf(candidate)) === 'file') return candidate;
  const looked = kind === 'nothing' ? 'there is nothing' : `it has neither onnx/model.onnx nor model.onnx`;
  throw new LacunaError('not-found', `Expected a converted model at ${folderOrFile}, but ${looked}`, {
    hint: 'Make one with `lacuna convert <checkpoint> -o DIR`.',
  });
}

async function kindOf(file: string): Promise<'file' | 'folder' | 'nothing'> {
  const found = await stat(file).catch(() => undefined);
  if (found?.isDirectory()) return 'folder';
  // A pipe or a device has no end, and ONNX Runtime would read for ever.
  return found?.isFile() ? 'file' : 'nothing';
}

function sessionOf(session: OrtSession, signature: Signature): Session {
  const { cache: cacheInputs, extraOutputs } = signature;
  const fetches = ['logits', ...cacheInputs.map(({ present }) => present), ...extraOutputs];
  return {
    extraOutputs,
    emptyCache: () => emptyCache(signature),
    async step(tokens, cache, { logits: wanted = 'last', signal } = {}) {
      throwIfAborted(signal);
      const outputs = await session.run(feedsOf(signature, tokens, cache), fetches);
      const presents = cacheInputs.map(({ past, present }) => [past, outputs[present]] as const);
      const extras = extraOutputs.map((name) => [name, outputs[name]] as const);
      return {
        ...logitsOf(outputs.logits, wanted),
        cache: { length: cache.length + tokens.length, tensors: Object.fromEntries(presents) },
        extras: Object.fromEntries(extras),
      };
    },
    close: () => session.close(),
  };
}

function emptyCache({ cache }: Signature): KvCache {
  const tensors = cache.map(
    ({ past, dtype, kvHeads, headDim }) => [past, emptyTensor(past, dtype, [1, kvHeads, 0, headDim])] as const,
  );
  return { length: 0, tensors: Object.fromEntries(tensors) };
}

function feedsOf(signature: Signature, tokens: ArrayLike<number>, cache: KvCache): Record<string, RuntimeTensor> {
  const total = cache.length + tokens.length;
  const feeds: Record<string, RuntimeTensor> = {
    input_ids: int64Row(tokenIds(tokens, signature.vocab)),
    attention_mask: int64Row(new BigInt64Array(total).fill(1n)),
  };
  if (signature.takesPositionIds)
    feeds.position_ids = int64Row(BigInt64Array.from(tokens, (_, index) => BigInt(cache.length + index)));
  for (const input of signature.cache) feeds[input.past] = pastOf(cache, input);
  return feeds;
}

/** Ids are checked here: what an embedding does with one outside the vocabulary depends on its kernel. */
export function tokenIds(tokens: ArrayLike<number>, vocab: number | undefined): BigInt64Array {
  if (tokens.length === 0) throw invalidArgument('tokens', 'at least one token', 'none');
  return BigInt64Array.from(tokens, (token) => {
    if (!Number.isInteger(token) || token < 0 || (vocab !== undefined && token >= vocab))
      throw invalidArgument('a token id', `an integer from 0 to ${vocab === undefined ? 'n' : vocab - 1}`, token);
    return BigInt(token);
  });
}

function int64Row(data: BigInt64Array): RuntimeTensor {
  return { dtype: 'int64', dims: [1, data.length], data };
}

function pastOf(cache: KvCache, { past, dtype }: CacheInput): RuntimeTensor {
  const tensor = cache.tensors[past];
  if (tensor === undefined)
    throw new LacunaError('mismatch', `Expected a cache with ${past}, but this one was made by a model without it`);
  if (tensor.dtype !== dtype)
    throw new LacunaError(
      'mismatch',
      `Expected a ${dtype} cache, but this one was made by a model of ${tensor.dtype}`,
      { hint: 'Models of different floats share no cache: compare them with --mode all.' },
    );
  return tensor;
}

function logitsOf({ dtype, dims, data }: RuntimeTensor, wanted: StepOptions['logits']): Omit<Step, 'cache' | 'extras'> {
  const [, rows, vocab] = dims;
  if (!(data instanceof Float32Array))
    throw new LacunaError('unsupported', `Expected float32 logits but the model returns ${dtype}`);
  if (wanted === 'all') return { logits: data, rows, vocab };
  // A copy: a view would keep the logits of the whole prompt alive.
  return { logits: data.slice((rows - 1) * vocab), rows: 1, vocab };
}
