/** What `buildAuto` is asked for, what it works with, and the names of its stages. */
import { join } from 'node:path';
import * as z from 'zod';
import { type Budget, parseBudget } from '../../core/budget.ts';
import { type Checkpoint, hasTokenizer } from '../../core/checkpoint.ts';
import { LacunaError } from '../../core/errors.ts';
import type { HostCosts } from '../../core/host-costs.ts';
import { HOST_KINDS, type HostKind } from '../../core/host-kind.ts';
import { BLOCK_PARTS, blockName, type ModelSpec } from '../../core/model.ts';
import { optionsOf, path } from '../../core/options.ts';
import { blockPrecisions, type Precision } from '../../core/precision.ts';
import { type BuildTexts, TEXTS, withTexts } from '../build/options.ts';
import { keyOf, workspaceOf } from '../build/workspace.ts';
import { calibrationInput } from '../calibrate.ts';
import { refuseNonFiniteBlocks } from '../convert.ts';
import { type Engine, hasNativeCore } from '../engine/engine.ts';
import { hashSmallFiles } from '../folder/model-folder.ts';
import { localPath, openPieces, SOURCE, type SourceOptions } from '../folder/source.ts';
import { costsOfHost } from '../host/costs.ts';
import { COSTS, count, flag, nativeFolder } from '../options.ts';
import { checkDisjoint, identifyTexts, wantedForRounding } from '../texts/texts.ts';
import { DEFAULT_TOKENS, readWindows } from '../texts/windows.ts';

export const autoOptions = optionsOf(
  {
    checkpoint: path,
    output: path,
    /** As "ppl<=1.02, bytes<=120MB"; see `LIMITS`. */
    budget: z.string(),
  },
  {
    ...SOURCE,
    ...COSTS,
    /** Where the model is to decode; by default our kernels where they are built. */
    host: z.enum(HOST_KINDS),
    /** Of those that are not given, the ones that come with the package. */
    texts: optionsOf({}, TEXTS),
    /** Tokens to round by, to choose on and to score at least. */
    tokens: count,
    force: flag,
    /** Where finished stages are kept, also when all is done; by default beside the output, until then. */
    work: path,
    nativeFolder,
  },
);

export interface AutoOptions extends SourceOptions, z.infer<typeof autoOptions> {}

export interface AutoJob {
  readonly work: string;
  readonly options: Omit<AutoOptions, 'texts'> & { readonly texts: BuildTexts };
  readonly budget: Budget;
  readonly checkpoint: Checkpoint;
  readonly spec: ModelSpec;
  /** In which blocks may be stored, from the most exact to the coarsest. */
  readonly precisions: readonly Precision[];
  readonly blocks: readonly string[];
  readonly host: HostKind;
  /** The engine that times and measures. */
  readonly engine: Engine;
  readonly costs: HostCosts;
  readonly keys: Keys;
}

/** Changes with the shape of what stages record, so that no older record is read. */
const RECORDS = 2;

export type Keys = Awaited<ReturnType<typeof surveyAuto>>;

/** Chooses the defaults and refuses impossible options, before anything is measured. */
export async function prepareAuto(given: AutoOptions): Promise<AutoJob> {
  const budget = parseBudget(given.budget);
  const isNative = await hasNativeCore(given.nativeFolder);
  const host = given.host ?? (isNative ? 'native' : 'stock');
  if (host === 'native' && !isNative)
    throw new LacunaError('not-found', 'The native core is not built here, so no model can be chosen for it', {
      hint: 'Build it with `npm run build:native`, or use --host stock.',
    });
  const precisions = blockPrecisions(host);
  refuseNonFiniteBlocks(precisions, given.allowNonFinite);
  const options = { ...withTexts(given), checkpoint: await localPath(given.checkpoint, given) };
  const { checkpoint, pieces } = await openPieces(options.checkpoint, options);
  const { spec } = pieces;
  const layers = Array.from({ length: spec.numHiddenLayers }, (_, layer) => layer);
  const known = {
    work: await workspaceOf(options),
    ...{ options, budget, checkpoint, spec, host, engine: host },
    precisions,
    blocks: layers.flatMap((layer) => BLOCK_PARTS.map((part) => blockName(layer, part))),
    costs: await costsOfHost(host, options),
  };
  return { ...known, keys: await surveyAuto(known) };
}

/** Reads what all stages will need. A stage's key comes from everything that goes into it. */
async function surveyAuto({ options, checkpoint, spec, precisions, engine, costs }: Omit<AutoJob, 'keys'>) {
  const { texts, tokens = DEFAULT_TOKENS, threads, budget } = options;
  if (!hasTokenizer(checkpoint))
    throw new LacunaError(
      'not-found',
      `No tokenizer.json in ${checkpoint.path}: there is nothing to measure a text with`,
      {
        hint: 'Put the tokenizer.json of the model there, or convert without measuring: lacuna convert',
      },
    );
  await checkDisjoint({ ...texts });
  await calibrationInput(checkpoint, wantedForRounding(spec), { data: texts.fit, tokens });
  for (const data of [texts.choose, texts.test]) await readWindows(checkpoint, spec.contextLength, { data, tokens });
  const [fit, choose, test] = await Promise.all([texts.fit, texts.choose, texts.test].map(identifyTexts));
  const source = keyOf(checkpoint.fingerprint, await hashSmallFiles(checkpoint));
  const rounding = keyOf(source, fit, tokens, precisions, threads);
  const losses = keyOf(rounding, choose, tokens, engine, RECORDS);
  const chosen = keyOf(losses, costs, budget);
  return { source, rounding, losses, chosen, build: keyOf(chosen, test) };
}

/** Where stages leave their outputs in the workspace. */
export function autoOutputs({ work, keys }: Pick<AutoJob, 'work' | 'keys'>) {
  return {
    rounding: join(work, `rounding-${keys.rounding}`),
    models: join(work, `models-${keys.rounding}`),
    floats: join(work, `floats-${keys.source}`),
    drawn: join(work, `drawn-${keys.losses}`, 'drawn.json'),
    losses: join(work, `losses-${keys.losses}`),
    shown: join(work, `shown-${keys.losses}`),
    choice: join(work, `choice-${keys.chosen}`, 'choice.json'),
  };
}
