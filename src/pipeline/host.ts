/** `lacuna host`: what decoding costs on this host, so that plans know times before anything is built. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as z from 'zod';
import { writeOnnx } from '../../formats/onnx/index.ts';
import { throwIfAborted } from '../core/errors.ts';
import {
  COSTS as COST_LIST,
  COSTS_FORMAT,
  COSTS_VERSION,
  type HostCosts,
  type StorageCosts,
  timeOf,
} from '../core/host-costs.ts';
import { HOST_KINDS, type HostKind } from '../core/host-kind.ts';
import { door, listOf, optionsOf } from '../core/options.ts';
import { HOST_DTYPES, type HostDtype, precisionNamed, vocabularyOf } from '../core/precision.ts';
import { SILENT } from '../core/progress.ts';
import { bench, meanCachedTokens } from '../eval/index.ts';
import { fitCostsTogether, type MeasuredStep, stepTerms } from '../plan/index.ts';
import { hasNativeCore, openDecodingSession } from './engine/engine.ts';
import { costsKey, saveCosts } from './host/costs.ts';
import { PROBE_TOKENS, type Probe, probeGraph, probesFor, USUAL_MEGABYTES } from './host/probe.ts';
import { COSTS, count, JOB, nativeFolder } from './options.ts';

export const hostOptions = optionsOf(
  {},
  {
    ...JOB,
    ...COSTS,
    nativeFolder,
    /** Our kernels, or ONNX Runtime without them; by default the kernels where they are built. */
    host: z.enum(HOST_KINDS),
    /** The precisions to measure; all that processors compute with by default. */
    dtype: listOf(z.enum(HOST_DTYPES)),
    /** Of the weights of each model that is measured; 128 by default. Caches should hold little of it. */
    megabytes: count,
  },
);

export interface HostOptions extends z.infer<typeof hostOptions> {}

/** A measured step and what the fitted costs say of it. */
export interface FittedStep {
  readonly name: string;
  /** Seconds. */
  readonly measured: number;
  readonly fitted: number;
}

export interface HostResult {
  readonly costs: HostCosts;
  /** Where they were kept; null without a cache folder. */
  readonly file: string | null;
  /** By precision. */
  readonly steps: Readonly<Record<string, readonly FittedStep[]>>;
}

/** Sessions opened for each probe, and rounds timed in each. */
const COUNTS = { repeats: 2, rounds: 3, stepsPerBlock: 6 } as const;

/**
 * Measures decode steps of small models of made-up weights and fits a host's costs to them, by precision. With a cache folder they
 * are kept there, for plans and benchmarks on this host.
 *
 * @throws LacunaError `not-found` for the native host where its core is not built.
 * @example const { costs } = await measureHost({ host: 'native', threads: 2, cacheFolder: '/tmp/cache' });
 */
export const measureHost = door('measureHost', hostOptions, async (options: HostOptions): Promise<HostResult> => {
  const { dtype: dtypes = HOST_DTYPES, megabytes = USUAL_MEGABYTES, cacheFolder, progress = SILENT } = options;
  const host = options.host ?? ((await hasNativeCore(options.nativeFolder)) ? 'native' : 'stock');
  const key = await costsKey(host, options);
  const measured = new Map<HostDtype, Awaited<ReturnType<typeof measureProbe>>[]>();
  const total = dtypes.reduce((sum, dtype) => sum + probesFor(dtype, megabytes).length, 0);
  const stage = progress.stage(`Measuring the ${host} host`, total, 'models');
  for (const dtype of dtypes) {
    const ofPrecision: Awaited<ReturnType<typeof measureProbe>>[] = [];
    for (const probe of probesFor(dtype, megabytes)) {
      ofPrecision.push(await measureProbe(probe, dtype, host, { ...options, threads: key.threads }));
      stage.advance(1);
    }
    measured.set(dtype, ofPrecision);
  }
  stage.done();
  const precisions = fitAll(measured);
  const steps = Object.fromEntries(
    [...measured].map(([dtype, probes]) => {
      const fittedStep = ({ name, terms, seconds }: (typeof probes)[number]): FittedStep => {
        return { name, measured: seconds, fitted: timeOf(precisions[dtype], terms) };
      };
      return [dtype, probes.map(fittedStep)];
    }),
  );
  const costs: HostCosts = { format: COSTS_FORMAT, version: COSTS_VERSION, key, precisions };
  const file = cacheFolder === undefined ? null : await saveCosts(cacheFolder, costs);
  return { costs, file, steps };
});

/** Precisions that store embedding and head alike differ in nothing but the products of their blocks. */
function fitAll(measured: ReadonlyMap<HostDtype, readonly MeasuredStep[]>): Readonly<Record<string, StorageCosts>> {
  const vocabularies = new Set([...measured.keys()].map(vocabularyIn));
  const groups = [...vocabularies].map((name) => [...measured].filter(([dtype]) => vocabularyIn(dtype) === name));
  return Object.fromEntries(groups.flatMap((group) => [...fitCostsTogether(new Map(group), SHARED)]));
}

function vocabularyIn(dtype: HostDtype): string {
  return vocabularyOf(precisionNamed(dtype));
}

const SHARED = COST_LIST.filter(({ isShared }) => isShared).map(({ name }) => name);

/** Writes a probe, times its steps and removes it. */
async function measureProbe(probe: Probe, dtype: HostDtype, host: HostKind, options: HostOptions) {
  const { threads, signal } = options;
  const folder = await mkdtemp(join(tmpdir(), 'lacuna-host-'));
  try {
    throwIfAborted(signal);
    const path = join(folder, 'model.onnx');
    const { graph, blocks } = probeGraph(probe, dtype);
    await writeOnnx(graph, path, { signal, threads: 1 });
    const open = async () => {
      const { session } = await openDecodingSession(path, { ...options, progress: SILENT, engine: host });
      return { name: probe.name, session };
    };
    const { promptTokens, shape } = probe;
    const counts = { ...COUNTS, promptTokens };
    // Tokens far apart, so that no part of the embedding is read twice.
    const tokens = Array.from({ length: PROBE_TOKENS }, (_, at) => (at * 7919) % shape.vocabSize);
    const { subjects } = await bench([open], tokens, { ...counts, threads, signal });
    const stored = { kind: host, precision: precisionNamed(dtype) };
    const terms = stepTerms(shape, stored, blocks, meanCachedTokens(counts), 1);
    return { name: probe.name, terms, seconds: 1 / subjects[0].decodeTokensPerSecond.median };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
