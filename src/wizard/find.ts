/** Finds out what the wizard has to know, by the library. What cannot be is refused at the question where it can be mended. */
import { LacunaError } from '../core/errors.ts';
import { counted } from '../core/figures.ts';
import {
  type AutoDryRun,
  type BuildDryRun,
  build,
  buildAuto,
  type CheckpointSummary,
  type ComparedTarget,
  compareTargets,
  doctor,
  dryRunAuto,
  dryRunBuild,
  type HubOptions,
  type Inspection,
  inspect,
  type JobOptions,
  PRESET_WORDS,
  type Problem,
} from '../index.ts';
import { readText, saturationText } from './profile.ts';
import { QUESTIONS } from './questions/list.ts';
import { usualOutput } from './questions/output.ts';
import { targetIn } from './questions/setting.ts';
import { type BuildRequest, requestOf } from './request.ts';
import {
  type Answers,
  type FactName,
  isSparse,
  learn,
  type Machine,
  problemText,
  type Refusal,
  type State,
  withAnswers,
  without,
} from './state.ts';

/** How results are said, which the command line's other commands say alike. */
export interface Words {
  readonly checkpoint: (summary: CheckpointSummary) => string;
  readonly autoDryRun: (found: AutoDryRun) => string;
  readonly dryRun: (found: BuildDryRun) => string;
  /** What is expected of a target, by column. */
  readonly compared: readonly (readonly [name: string, cell: (one: ComparedTarget) => string])[];
}

/** What the library takes beside the user's options. */
export interface Surroundings extends JobOptions {
  readonly hub?: HubOptions | undefined;
  readonly nativeFolder?: string | URL | undefined;
  readonly cacheFolder?: string | undefined;
}

export interface Finding {
  readonly words: Words;
  readonly surroundings: Surroundings;
  readonly home: string;
  readonly hasUnicode: boolean;
  /** Prints lines that stay. */
  readonly say: (text: string) => void;
}

/** The state with the fact, or with a question to be asked again. */
export async function find(name: FactName, state: State, finding: Finding): Promise<State> {
  switch (name) {
    case 'machine':
      return findMachine(state, finding);
    case 'source':
      return findSource(state, finding);
    case 'texts':
      return refusing(state, finding, () => findTexts(state, finding));
    case 'expected':
      return refusing(state, finding, () => findExpected(state, finding));
    case 'ready':
      return refusing(state, finding, () => findReady(state, finding));
  }
}

async function findMachine(state: State, { surroundings: { nativeFolder }, home, say }: Finding): Promise<State> {
  const { problem, kernels, platform } = await doctor({ nativeFolder });
  if (problem !== null) throw new LacunaError('runtime', problem.message, { hint: problem.hint ?? undefined });
  const hasNative = kernels.active;
  say(
    hasNative
      ? `This machine: ${platform}; the native core is installed.`
      : `This machine: ${platform}, stock ONNX Runtime: ${kernels.why}.`,
  );
  const machine: Machine = { hasNative, home };
  // A host that was asked for is not overruled: what reads it says what is missing for it.
  const isStock = !hasNative && state.answers.host === undefined;
  return learn(isStock ? withAnswers(state, { host: 'stock' }) : state, 'machine', machine);
}

async function findSource(state: State, finding: Finding): Promise<State> {
  const { surroundings, words, say } = finding;
  const { checkpoint = '', download = false } = state.answers;
  const { hub, signal, progress } = surroundings;
  let found: Inspection;
  try {
    found = await inspect(checkpoint, { hub, signal, progress, download });
  } catch (error) {
    return refuseFor('checkpoint', state, error);
  }
  const again = (message: string, changes: Partial<Answers> = {}) =>
    refused(withAnswers(state, changes), { question: 'checkpoint', message });
  switch (found.kind) {
    case 'hub':
      if (found.missingBytes > 0) {
        say(`${found.id} on the Hub: ${counted(found.files.length, 'file')}.`);
        return learn(state, 'source', { layers: undefined, missingBytes: found.missingBytes });
      }
      return findSource(withAnswers(state, { download: true }), finding);
    case 'adapter':
      return again(
        found.adapter.problem ??
          `${checkpoint} is an adapter, trained on ${found.adapter.baseModel ?? 'a model that it does not name'}. It is merged into the checkpoint that you name now.`,
        found.adapter.problem === undefined ? { adapter: checkpoint } : {},
      );
    case 'checkpoint': {
      const { problems, hasTokenizer, spec } = found.checkpoint;
      if (problems.length > 0) return again(`It cannot be converted: ${problems.join('; ')}`);
      if (!hasTokenizer)
        return again(`No tokenizer.json in ${checkpoint}: there is nothing to measure a text with. Put it there.`);
      say(words.checkpoint(found.checkpoint));
      return learn(state, 'source', { layers: spec?.numHiddenLayers, missingBytes: 0 });
    }
    default:
      return again(`${checkpoint} holds no checkpoint (${found.kind}); the one it was made from is wanted.`);
  }
}

/** Whether checkpoint and texts can be measured with. Where, and within which budget, is asked later. */
async function findTexts(state: State, { surroundings }: Finding): Promise<State> {
  const { goal, budget: _, work: __, ...answers } = state.answers;
  // No target can be wrong for the native kernels, and no speed where none is asked for.
  const asked: Answers = { ...answers, goal, output: usualOutput(state.answers), allowSlower: true };
  const request = requestOf({ ...asked, ...(goal === 'auto' ? { budget: 'ppl<=1.02' } : { host: 'native' }) });
  if (request.kind === 'auto') await dryRunAuto({ ...request.options, ...surroundings });
  else await dryRunBuild({ ...request.options, ...surroundings });
  return learn(state, 'texts', true);
}

/** Targets to compare, from mild to strong. */
const SHARES: Readonly<Record<(typeof PRESET_WORDS)[number]['target']['kind'], readonly number[]>> = {
  density: [0.9, 0.8, 0.65, 0.5, 0.35, 0.2, 0.1],
  'skipped-blocks': [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4],
};

/** Those, and the one that is set at its place among them. */
function targetsOf({ goal }: Answers, target: number | undefined): readonly number[] {
  const kind = PRESET_WORDS.find(({ name }) => name === goal)?.target.kind ?? 'density';
  const targets = [...new Set([...SHARES[kind], ...(target === undefined ? [] : [target])])];
  return targets.sort((a, b) => (kind === 'density' ? b - a : a - b));
}

async function findExpected(state: State, finding: Finding): Promise<State> {
  const { surroundings, words, hasUnicode, say } = finding;
  const request = requestOf(state.answers);
  if (request.kind === 'auto') throw new RangeError('A search has no target');
  const target = targetIn(state.answers);
  const targets = targetsOf(state.answers, target);
  // Speed is a build's to judge. What was measured already is read in silence.
  const isFirst = state.facts.expected === undefined;
  const job = { ...surroundings, ...(!isFirst && { progress: undefined }) };
  const comparison = await compareTargets({ ...request.options, allowSlower: true, ...job, targets });
  const [problem] = comparison.targets.flatMap((one) => one.problem ?? []);
  if (problem !== undefined && comparison.targets.every((one) => one.problem !== undefined))
    return refused(state, { question: 'goal', message: problemText(problem) });
  if (isFirst) say(saturationText(comparison, hasUnicode));
  say(readText(comparison, target, hasUnicode));
  say('Expected by what was measured; the build measures speed and quality.');
  const used = words.compared.filter(([, cell]) => comparison.targets.some((one) => cell(one) !== '-'));
  const rows = comparison.targets.map((one) => ({
    target: one.target,
    cells: [one.target === target ? '*' : '', ...used.map(([, cell]) => cell(one))],
    ...(one.problem !== undefined && { problem: 'no plan' }),
  }));
  return learn(state, 'expected', { heading: ['', ...used.map(([column]) => column)], rows, comparison });
}

/** What is about to be done, and whether something stands in its way. */
async function findReady(state: State, { surroundings, words, say }: Finding): Promise<State> {
  const request = requestOf(state.answers);
  const { text, problem } = await dryRunOf(request, surroundings, words);
  if (problem !== undefined) throw new LacunaError(problem.code, problem.message, { hint: problem.hint });
  say(text);
  return learn(state, 'ready', true);
}

async function dryRunOf(
  request: BuildRequest,
  surroundings: Surroundings,
  words: Words,
): Promise<{ readonly text: string; readonly problem: Problem | undefined }> {
  if (request.kind === 'auto') {
    const found = await dryRunAuto({ ...request.options, ...surroundings });
    return { text: words.autoDryRun(found), problem: found.problem };
  }
  const found = await dryRunBuild({ ...request.options, ...surroundings });
  return { text: words.dryRun(found), problem: found.problem };
}

export type Built =
  | { readonly kind: 'auto'; readonly result: Awaited<ReturnType<typeof buildAuto>> }
  | { readonly kind: 'preset'; readonly result: Awaited<ReturnType<typeof build>> };

export async function make(answers: Answers, surroundings: Surroundings): Promise<Built> {
  const request = requestOf(answers);
  if (request.kind === 'auto')
    return { kind: 'auto', result: await buildAuto({ ...request.options, ...surroundings }) };
  return { kind: 'preset', result: await build({ ...request.options, ...surroundings }) };
}

/** `work`, or the question where the user can mend what it fails with. What no answer can mend is thrown. */
async function refusing(state: State, finding: Finding, work: () => Promise<State>): Promise<State> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof LacunaError) || error.code === 'interrupted') throw error;
    const { output, fit, choose, test, adapter } = state.answers;
    if (error.code === 'exists' && output !== undefined)
      return canBeReplaced(error, state.answers)
        ? withAnswers(state, { taken: output })
        : refuseFor('output', state, error);
    // The checkpoint may have gone since it was named.
    const again = await findSource(state, { ...finding, say: () => {} });
    if (again.refusal !== undefined) return again;
    if ([fit, choose, test].some((files) => files !== undefined)) return refuseFor('texts', state, error);
    if (error.code === 'io' && output !== undefined) return refuseFor('output', state, error);
    if (adapter !== undefined) return refuseFor('checkpoint', withAnswers(state, { adapter: undefined }), error);
    if (error.code === 'usage' && isSparse(state.answers)) return refuseFor('goal', state, error);
    throw error;
  }
}

/** Not what another run is at work in, nor a file, nor a folder of somebody else's: only where it could be, --force is named. */
function canBeReplaced({ hint = '' }: LacunaError, { force }: Answers): boolean {
  return !force && hint.includes('--force');
}

function refuseFor(question: string, state: State, error: unknown): State {
  if (!(error instanceof LacunaError) || error.code === 'interrupted') throw error;
  return refused(state, { question, message: problemText(error) });
}

/** With the question open again. */
function refused(state: State, refusal: Refusal): State {
  const { gives } = QUESTIONS.find(({ id }) => id === refusal.question) ?? { gives: [] };
  return { ...withAnswers(state, without(gives)), refusal };
}
