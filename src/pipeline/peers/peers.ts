/** Decoding in turn with other programs: the work of `bench --peers`. */
import { resolve } from 'node:path';
import { parseJsonObject } from '../../../formats/json-file.ts';
import { LacunaError } from '../../core/errors.ts';
import { type Given, path } from '../../core/options.ts';
import { type JobOptions, SILENT } from '../../core/progress.ts';
import { type Spread, spread } from '../../eval/index.ts';
import { type PythonRun, probeScript, pythonsFor, runScript } from './python.ts';

export const PEERS = {
  /** A Python that has peers installed; looked for when absent. */
  python: path,
  /** The same weights as a GGUF file, for llama.cpp. */
  gguf: path,
};

export type PeerResult = TimedPeer | FailedPeer;

export interface TimedPeer {
  readonly name: string;
  readonly version: string;
  readonly decodeTokensPerSecond: Spread;
  readonly prefillTokensPerSecond: Spread;
  /** Tokens a second of the timed folder / of the peer, one value for each round. */
  readonly speedup: Spread;
}

/** A peer that is not installed, failed or did not answer. The others are timed all the same. */
export interface FailedPeer {
  readonly name: string;
  /** null if it is not installed. */
  readonly version: string | null;
  readonly failure: string;
}

/** The model that is timed against the peers. */
export interface PeerSubject {
  readonly folder: string;
  /** Its .onnx file, relative to the folder. */
  readonly model: string;
  readonly promptTokens: number;
  /** Tokens decoded in a round. */
  readonly steps: number;
  readonly rounds: number;
  /** Decodes and gives the subject's tokens a second, measured now. */
  readonly decode: () => Promise<number>;
  /** Milliseconds that a peer gets in addition to a multiple of the subject's time. */
  readonly patienceMs?: number;
}

export interface Peers {
  readonly python: string;
  readonly peers: readonly Peer[];
  /** Those that were asked for and are not installed. */
  readonly missing: readonly FailedPeer[];
}

interface Peer extends Pick<TimedPeer, 'name' | 'version'> {
  /** The file or folder that it opens. */
  readonly args: readonly string[];
}

const SCRIPT = 'peers.py';

/** A peer fails if it takes longer than this time plus this multiple of the subject's time. */
const PATIENCE_MS = 300_000;
const PATIENCE_TURNS = 30;

/** The peers that are installed and have something to open. Throws `not-found` with what to install for none. */
export async function findPeers(
  { folder, model }: Pick<PeerSubject, 'folder' | 'model'>,
  { python: named, gguf }: Given<typeof PEERS>,
): Promise<Peers> {
  const opens = {
    'onnxruntime-genai': [resolve(folder), '--model', model],
    ...(gguf !== undefined && { 'llama.cpp': [resolve(gguf)] }),
  };
  const tried: string[] = [];
  const found: Peers[] = [];
  for (const python of pythonsFor(named)) {
    const versions = await probeScript(python, SCRIPT);
    const peers = Object.entries(opens).flatMap(([name, args]) => {
      const version = versions?.[name];
      return typeof version === 'string' ? [{ name, version, args }] : [];
    });
    const lacks = Object.keys(opens).filter((name) => peers.every((peer) => peer.name !== name));
    const missing = lacks.map((name) => ({ name, version: null, failure: `it is not installed in ${python}` }));
    if (missing.length === 0) return { python, peers, missing };
    if (peers.length > 0) found.push({ python, peers, missing });
    tried.push(`${python} ${versions === undefined ? 'does not run' : 'has none'}`);
  }
  // One of two is better than none. The report names the other.
  if (found.length > 0) return found[0];
  throw new LacunaError('not-found', `There is no peer to compare with: ${tried.join('; ')}`, {
    hint: 'pip install onnxruntime-genai; for llama.cpp llama-cpp-python, and --gguf FILE with the same weights.',
  });
}

/** The subject and each peer decode in turn, round after round. A peer that failed once is not tried again. */
export async function timePeers(
  { python, peers, missing }: Peers,
  { promptTokens, steps, rounds, decode, patienceMs = PATIENCE_MS }: PeerSubject,
  { progress = SILENT, signal, threads }: JobOptions,
): Promise<readonly PeerResult[]> {
  const stage = progress.stage('Timing peers', rounds * peers.length, 'runs');
  const counts = ['--prompt', `${promptTokens}`, '--steps', `${steps}`];
  const options = [...counts, ...(threads === undefined ? [] : ['--threads', `${threads}`])];
  const turns: Turn[][] = peers.map(() => []);
  const failures = new Map<Peer, FailedPeer>();
  for (let round = 0; round < rounds && failures.size < peers.length; round++) {
    const started = performance.now();
    const ours = await decode();
    const limitMs = patienceMs + PATIENCE_TURNS * (performance.now() - started);
    for (const [index, peer] of peers.entries()) {
      if (!failures.has(peer)) {
        const answer = await askPeer(peer, python, options, { signal, limitMs });
        if ('failure' in answer) failures.set(peer, answer);
        else turns[index].push({ ours, ...answer });
      }
      stage.advance(1);
    }
  }
  stage.done();
  return [...peers.map((peer, index) => failures.get(peer) ?? timed(peer, turns[index])), ...missing];
}

type PeerFigures = Readonly<Record<'decodeTokensPerSecond' | 'prefillTokensPerSecond', number>>;

/** A round: the result of the subject, then that of the peer. */
interface Turn extends PeerFigures {
  readonly ours: number;
}

function timed({ name, version }: Peer, turns: readonly Turn[]): TimedPeer {
  return {
    name,
    version,
    decodeTokensPerSecond: spread(turns.map((turn) => turn.decodeTokensPerSecond)),
    prefillTokensPerSecond: spread(turns.map((turn) => turn.prefillTokensPerSecond)),
    speedup: spread(turns.map(({ ours, decodeTokensPerSecond }) => ours / decodeTokensPerSecond)),
  };
}

/** A peer's figures, or why there are none. Whatever happens in its process, the benchmark continues. */
async function askPeer(
  { name, version, args }: Peer,
  python: string,
  options: readonly string[],
  limits: Pick<PythonRun, 'signal' | 'limitMs'>,
): Promise<PeerFigures | FailedPeer> {
  try {
    const answer = await runScript(python, [SCRIPT, name, ...args, ...options], { ...limits, failure: 'it failed' });
    return figuresIn(answer.trim(), name);
  } catch (error) {
    if (!(error instanceof LacunaError) || error.code === 'interrupted') throw error;
    return { name, version, failure: error.message };
  }
}

/** Libraries may print first. The script's own output is the last line. */
function figuresIn(answer: string, name: string): PeerFigures {
  const line = answer.slice(answer.lastIndexOf('\n') + 1);
  const { decodeTokensPerSecond, prefillTokensPerSecond } = parseJsonObject(line, `what ${name} answered`);
  if (typeof decodeTokensPerSecond === 'number' && typeof prefillTokensPerSecond === 'number')
    return { decodeTokensPerSecond, prefillTokensPerSecond };
  throw new LacunaError('runtime', `it answered without figures: ${answer.slice(-200)}`);
}
