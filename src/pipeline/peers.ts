/** Decoding beside other programs, in turn with them: what `bench --peers` adds. */
import { resolve } from 'node:path';
import { parseJsonObject } from '../../formats/json-file.ts';
import { LacunaError } from '../core/errors.ts';
import { type JobOptions, SILENT } from '../core/progress.ts';
import { type Spread, spread } from '../eval/index.ts';
import { PYTHONS, probeScript, runPython, scriptPath } from './python.ts';

export interface PeerOptions extends JobOptions {
  /** A Python that has peers installed; looked for when absent. */
  readonly python?: string | undefined;
  /** The same weights as a GGUF file, for llama.cpp. */
  readonly gguf?: string | undefined;
}

export interface PeerResult {
  readonly name: string;
  readonly version: string;
  readonly decodeTokensPerSecond: Spread;
  readonly prefillTokensPerSecond: Spread;
  /** Tokens a second of the folder that is timed / of the peer, a round each. */
  readonly speedup: Spread;
}

/** What is timed against the peers. */
export interface PeerSubject {
  readonly folder: string;
  /** Its .onnx file, relative to the folder. */
  readonly model: string;
  readonly promptTokens: number;
  /** Tokens that are decoded a round. */
  readonly steps: number;
  readonly rounds: number;
  /** Tokens a second that the subject decodes, measured now. */
  readonly decode: () => Promise<number>;
}

export interface Peers {
  readonly python: string;
  readonly peers: readonly Peer[];
}

interface Peer {
  readonly name: string;
  readonly version: string;
  /** What it opens. */
  readonly args: readonly string[];
}

const SCRIPT = 'peers.py';

/**
 * The peers that are installed and have something to open: quick, so that it can be done before anything is timed.
 *
 * @throws LacunaError `not-found` with what to install where there is none.
 */
export async function findPeers(
  { folder, model }: Pick<PeerSubject, 'folder' | 'model'>,
  { python: named, gguf }: PeerOptions,
): Promise<Peers> {
  const opens = {
    'onnxruntime-genai': [resolve(folder), '--model', model],
    ...(gguf !== undefined && { 'llama.cpp': [resolve(gguf)] }),
  };
  const tried: string[] = [];
  for (const python of named === undefined ? PYTHONS : [named]) {
    const versions = await probeScript(python, SCRIPT);
    const peers = Object.entries(opens).flatMap(([name, args]) => {
      const version = versions?.[name];
      return typeof version === 'string' ? [{ name, version, args }] : [];
    });
    const isComplete = gguf === undefined || peers.some(({ name }) => name === 'llama.cpp');
    if (peers.length > 0 && isComplete) return { python, peers };
    const lacks = gguf === undefined ? 'has none' : 'has no llama-cpp-python';
    tried.push(`${python} ${versions === undefined ? 'does not run' : lacks}`);
  }
  throw new LacunaError('not-found', `There is no peer to compare with: ${tried.join('; ')}`, {
    hint: 'pip install onnxruntime-genai; for llama.cpp llama-cpp-python, and --gguf FILE with the same weights.',
  });
}

/** The subject and each peer decode in turn, round after round; a peer in a process of its own, which loads the model anew. */
export async function timePeers(
  { python, peers }: Peers,
  { promptTokens, steps, rounds, decode }: PeerSubject,
  { progress = SILENT, signal, threads }: JobOptions,
): Promise<readonly PeerResult[]> {
  const stage = progress.stage('Timing peers', rounds * peers.length, 'runs');
  const counts = ['--prompt', `${promptTokens}`, '--steps', `${steps}`];
  const options = [...counts, ...(threads === undefined ? [] : ['--threads', `${threads}`])];
  const found = peers.map(() => [] as { ours: number; decoded: number; read: number }[]);
  for (let round = 0; round < rounds; round++) {
    const ours = await decode();
    for (const [index, { name, args }] of peers.entries()) {
      const figures = await askPeer(python, [name, ...args, ...options], name, signal);
      found[index].push({ ours, decoded: figures.decodeTokensPerSecond, read: figures.prefillTokensPerSecond });
      stage.advance(1);
    }
  }
  stage.done();
  return peers.map(({ name, version }, index) => ({
    name,
    version,
    decodeTokensPerSecond: spread(found[index].map(({ decoded }) => decoded)),
    prefillTokensPerSecond: spread(found[index].map(({ read }) => read)),
    speedup: spread(found[index].map(({ ours, decoded }) => ours / decoded)),
  }));
}

async function askPeer(python: string, args: readonly string[], name: string, signal: AbortSignal | undefined) {
  let answer = '';
  const onOutput = (text: string) => {
    answer += text;
  };
  await runPython(python, [scriptPath(SCRIPT), ...args], {
    signal,
    onOutput,
    failure: `${name} could not decode`,
  });
  // Libraries may print before; the script's own is the last line.
  const { decodeTokensPerSecond, prefillTokensPerSecond } = parseJsonObject(
    answer.trim().split('\n').at(-1) ?? '',
    `what ${name} answered`,
  );
  if (typeof decodeTokensPerSecond !== 'number' || typeof prefillTokensPerSecond !== 'number')
    throw new LacunaError('runtime', `${name} answered without figures: ${answer.trim().slice(-200)}`);
  return { decodeTokensPerSecond, prefillTokensPerSecond };
}
