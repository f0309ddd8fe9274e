/** What was made of what: checkpoint, texts, versions, files, with their hashes. */
import { counted, formatBytes, percent } from '../../core/figures.ts';
import { engineText } from '../../core/host-kind.ts';
import type { Manifest } from '../../core/manifest.ts';
import type { FolderData, StatisticsFigures } from '../data.ts';
import { EMPTY, type Html, html } from '../html.ts';
import { aside, ofBoth, ofFolder, shown } from '../section.ts';
import { factsOf, tableOf } from '../table.ts';

export const provenance = ofBoth('provenance', 'Where it comes from', (data) =>
  data.kind === 'folder'
    ? shown('What this folder was made of, by which version, and what lies in it.', folderBody(data))
    : shown('What was measured, on which texts.', statisticsBody(data.statistics)),
);

function folderBody(data: FolderData): Html {
  const { manifest, evaluation, bench } = data;
  const { spec, lacuna, fingerprint, plan } = manifest;
  return html`${factsOf([
    [
      'Architecture',
      `${spec.architecture} (${spec.modelType}): ${spec.numHiddenLayers} layers, hidden ${spec.hiddenSize}, FFN ${spec.intermediateSize}, vocabulary ${spec.vocabSize}, context ${spec.contextLength}`,
    ],
    ['Checkpoint', hash(fingerprint)],
    ['Made by', `Lacuna ${lacuna}`],
    ...(plan === null ? [] : [['Plan', html`preset ${plan.preset}, of statistics ${hash(plan.statistics)}`] as const]),
    ...(evaluation === null ? [] : [['Evaluated in', engineText(evaluation.engine)] as const]),
    ...(bench === null ? [] : [['Timed', timedText(bench)] as const]),
    ...checksOf(manifest),
  ])}
${tableOf({ caption: 'Texts', header: ['Text', 'For', 'Tokens', 'sha256'], rows: textRows(data) })}
<details><summary>Models and files</summary>
${tableOf({
  header: ['Model', 'Precision', 'Blocks', 'Rounded', 'ONNX Runtime'],
  rows: manifest.models.map(({ file, precision, blocks, rounding, onnxruntime }) => [
    file,
    precision,
    blocks === undefined ? 'none' : `of ${blocks.blockSize}${blocks.symmetric ? '' : ' with zero points'}`,
    rounding ?? 'without a text',
    onnxruntime,
  ]),
})}
${tableOf({
  header: ['File', 'Size', 'CRC-32'],
  rows: manifest.files.map(({ path, bytes, crc32 }) => [path, formatBytes(bytes), html`<code>${crc32}</code>`]),
})}</details>`;
}

function timedText({ subjects, threads, promptTokens, repeats, rounds }: NonNullable<FolderData['bench']>): string {
  const on = threads === null ? 'threads of ONNX Runtime’s own choice' : counted(threads, 'thread');
  const engines = [...new Set(subjects.flatMap(({ engine }) => (engine == null ? [] : [engineText(engine)])))];
  const where = engines.length === 0 ? '' : `, in ${engines.join(' and ')}`;
  return `${counted(repeats, 'opening')} of ${counted(rounds, 'round')}, with ${promptTokens} tokens in the cache, on ${on}${where}`;
}

function checksOf({ checks = [] }: Manifest): readonly (readonly [string, string])[] {
  return checks.map(({ precision, passed, all, tools }) => {
    const with_ = Object.entries(tools)
      .map(([tool, version]) => `${tool} ${version}`)
      .join(', ');
    const agreed = all === null ? 'no number came out' : `same top-1 ${percent(all.top1Agreement)} of ${all.rows} rows`;
    return [`Verified, ${precision}`, `${passed ? 'passed' : 'FAILED'}: ${agreed}; ${with_}`];
  });
}

function textRows({ manifest, evaluation, statistics }: FolderData): readonly (readonly (string | Html)[])[] {
  const rounded = manifest.models[0].calibratedOn ?? [];
  const planned = statistics?.texts ?? manifest.plan?.texts ?? [];
  const rows = [
    ...rounded.map(({ name, sha256, tokens }) => [name, 'rounding', String(tokens), hash(sha256)]),
    ...planned.map(({ name, sha256, tokens }) => [name, 'statistics and plan', String(tokens), hash(sha256)]),
    ...(evaluation?.texts ?? []).map(({ name, sha256 }) => [
      name,
      'these figures',
      scoredText(evaluation),
      hash(sha256),
    ]),
  ];
  return rows.length === 0 ? [['none', 'no text was read', '–', '–']] : rows;
}

function scoredText(evaluation: FolderData['evaluation']): string {
  const scored = evaluation?.modes[0]?.scoredTokens ?? evaluation?.perplexity?.scoredTokens;
  return scored === undefined ? '–' : String(scored);
}

function statisticsBody({ model, texts, tokens, definitions, warnings }: StatisticsFigures): Html {
  return html`${factsOf([
    [
      'Model',
      `${model.modelType}: ${model.numHiddenLayers} layers, hidden ${model.hiddenSize}, FFN ${model.intermediateSize}`,
    ],
    ['Checkpoint', hash(model.fingerprint)],
    ['Tokens', tokens.toLocaleString('en')],
  ])}
${warnings.length === 0 ? EMPTY : html`<ul class="warnings">${warnings.map((warning) => html`<li>${warning}</li>`)}</ul>`}
${tableOf({
  caption: 'Texts',
  header: ['Text', 'Tokens', 'sha256'],
  rows: texts.map((text) => [text.name, String(text.tokens), hash(text.sha256)]),
})}
<details><summary>Definitions</summary>${factsOf(Object.entries(definitions))}</details>`;
}

function hash(text: string): Html {
  return html`<code class="hash">${text}</code>`;
}

/** What each figure means, in the words of the commands. */
export const definitions = ofFolder('definitions', 'What the figures mean', ({ evaluation }) => {
  if (evaluation === null) return aside('nothing was evaluated, so no figure needs a definition');
  const known = evaluation.definitions;
  return shown(
    'Every figure of quality and speed, as lacuna eval and lacuna bench define it.',
    html`<details><summary>${Object.keys(known).length} definitions</summary>${factsOf(Object.entries(known))}</details>`,
  );
});
