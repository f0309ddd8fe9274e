/** What a page says first: the verdict in one sentence, and the figures that it rests on. */
import { counted, formatBytes, percent } from '../core/figures.ts';
import { engineText } from '../core/host-kind.ts';
import { regionText } from '../core/saturation.ts';
import { speedVerdict } from '../core/speed-verdict.ts';
import type { FolderData, ReportData, StatisticsData } from './data.ts';
import type { Bench } from './figures.ts';
import { denseName } from './points.ts';
import {
  boundText,
  isAgainstFloats,
  isFloats,
  modelOf,
  namesOf,
  ratioText,
  speedupText,
  storedText,
  targetText,
} from './words.ts';

export interface Verdict {
  readonly sentence: string;
  readonly figures: readonly Figure[];
}

export interface Figure {
  readonly name: string;
  readonly value: string;
  readonly remark: string;
}

export function verdictOf(data: ReportData): Verdict {
  return data.kind === 'folder'
    ? { sentence: folderSentence(data), figures: folderFigures(data) }
    : { sentence: statisticsSentence(data), figures: statisticsFigures(data) };
}

/** "dense int8", "int8 with 50.0 % of neurons kept". */
export function subjectText(data: FolderData): string {
  const { plan } = data.manifest;
  const stored = storedText(modelOf(data), plan);
  const target = targetText(plan);
  return target === undefined ? `dense ${stored}` : `${stored} with ${target}`;
}

function folderSentence(data: FolderData): string {
  const heads = [budgetHead(data), speedHead(data)].filter((head) => head !== undefined);
  const what = `this model, ${subjectText(data)}, ${[qualityClause(data), speedClause(data)].join(', and ')}.`;
  if (heads.length === 0) return capital(what);
  return `${capital(heads.join(', and '))}: ${what}`;
}

/** Nothing over a budget is shipped by `build`. `eval` may have measured it since, and then has the last word. */
function budgetHead({ evaluation, search }: FolderData): string | undefined {
  if (evaluation?.check !== undefined) return evaluation.check.passed ? 'within the budget' : 'over the budget';
  return search === null ? undefined : 'within the budget';
}

function speedHead({ bench }: FolderData): string | undefined {
  if (bench === null || bench.speedup === null) return undefined;
  return speedVerdict(bench.speedup);
}

function qualityClause(data: FolderData): string {
  const { evaluation, search } = data;
  if (isFloats(data) && evaluation === null) return 'holds the checkpoint’s floats';
  if (evaluation === null) return 'has not been compared with the checkpoint’s floats';
  const { texts, perplexity, modes, check, againstPrecision } = evaluation;
  if (modes.length === 0)
    return `has a perplexity of ${perplexity?.perplexity.toFixed(3) ?? '?'} on ${namesOf(texts)}, with no baseline`;
  const [{ perplexityRatio: ratio }] = modes;
  const baseline = isAgainstFloats(evaluation) ? 'the checkpoint’s floats' : `a baseline in ${againstPrecision}`;
  const searched = search === null ? '' : `, for a budget of ${search.budget}`;
  const budget =
    check === undefined
      ? searched
      : `, in every mode below ${check.upperBound.toFixed(4)}, wanted at most ${check.maxPplRatio}`;
  return `has a perplexity ratio of ${ratioText(ratio)} to ${baseline} (${boundText(ratio)}${budget}) on ${namesOf(texts)}`;
}

function speedClause({ bench, manifest }: FolderData): string {
  if (bench === null) return 'its speed has not been measured';
  const [dense] = bench.subjects;
  const subject = bench.subjects[bench.subjects.length - 1];
  const where = inEngine(subject);
  if (bench.speedup === null)
    return `decodes ${subject.decodeTokensPerSecond.median.toFixed(1)} tokens a second${where}`;
  const name = dense.name === 'dense' ? `dense ${manifest.models[0].precision}` : denseName(dense.name);
  const baseline = inEngine(dense) === where ? name : `${name}${inEngine(dense)}`;
  return `decodes ${speedupText(bench.speedup, baseline)}${where}`;
}

function inEngine({ engine }: Bench['subjects'][number]): string {
  return engine == null ? '' : ` in ${engineText(engine)}`;
}

function folderFigures(data: FolderData): readonly Figure[] {
  const { evaluation, bench, manifest } = data;
  const mode = evaluation !== null && isAgainstFloats(evaluation) ? evaluation.modes[0] : undefined;
  const subject = bench?.subjects.at(-1);
  const read = subject?.weightBytesPerToken ?? null;
  const dense = bench !== null && bench.subjects.length > 1 ? bench.subjects[0].weightBytesPerToken : null;
  const model = modelOf(data);
  const size = manifest.files.reduce((sum, { path, bytes }) => sum + (path.startsWith(model.file) ? bytes : 0), 0);
  const unmeasured = 'not measured';
  return [
    {
      name: 'Perplexity ratio',
      value: mode?.perplexityRatio.value.toFixed(4) ?? '–',
      remark: mode === undefined ? unmeasured : boundText(mode.perplexityRatio),
    },
    {
      name: 'Decoding',
      value: subject === undefined ? '–' : `${subject.decodeTokensPerSecond.median.toFixed(1)} tokens/s`,
      remark:
        bench?.speedup == null
          ? subject === undefined
            ? unmeasured
            : 'with no baseline'
          : `${bench.speedup.median.toFixed(2)} times the baseline`,
    },
    {
      name: 'Read a token',
      value: read === null ? '–' : formatBytes(read),
      remark:
        read === null
          ? unmeasured
          : dense === null
            ? 'of weights'
            : `of weights, ${percent(read / dense)} of the baseline’s`,
    },
    { name: 'Size', value: formatBytes(size), remark: model.file },
  ];
}

function statisticsSentence({ statistics }: StatisticsData): string {
  const { model, tokens, texts, saturation } = statistics;
  const measured = `On ${tokens.toLocaleString('en')} tokens of ${namesOf(texts)}, `;
  if (saturation === null) return `${measured}no saturation was measured, so no block can be planned to be skipped.`;
  const { region } = saturation;
  const layers = regionText(region);
  if (layers === undefined)
    return `${measured}no layer lies between the first and the last, so no block can be planned to be skipped.`;
  const length = region.end - region.start;
  return `${measured}FFN blocks of layers ${layers} turn the residual stream least: ${length} of ${model.numHiddenLayers} layers in which blocks may be skipped.`;
}

function statisticsFigures({ statistics }: StatisticsData): readonly Figure[] {
  const { model, tokens, sequences, plannedSequences, sequenceLength, keptEnergy, saturation } = statistics;
  const half = keptEnergy === null ? -1 : keptEnergy.densities.indexOf(0.5);
  const kept = half < 0 ? undefined : keptEnergy?.oracle.map((layer) => layer[half]);
  const whole = sequences < plannedSequences ? `, of ${plannedSequences} planned` : '';
  return [
    {
      name: 'Model',
      value: model.modelType,
      remark: `${model.numHiddenLayers} layers, hidden ${model.hiddenSize}, FFN ${model.intermediateSize}`,
    },
    {
      name: 'Tokens',
      value: tokens.toLocaleString('en'),
      remark: `${sequences} sequences of up to ${sequenceLength}${whole}`,
    },
    {
      name: 'Warm-up',
      value: saturation === null ? '–' : counted(saturation.warmUp.tokens, 'token'),
      remark: saturation === null ? 'not measured' : 'until cosines are those of the rest',
    },
    {
      name: 'Energy in half',
      value: kept === undefined ? '–' : percent(kept.reduce((sum, one) => sum + one, 0) / kept.length),
      remark: kept === undefined ? 'not measured' : 'kept by the best half of a token’s neurons',
    },
  ];
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
